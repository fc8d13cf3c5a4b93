//go:build unix

package handlers

// anyProgram stands for a program that is not known yet.
const anyProgram = "/bin/sh"
