//go:build unix

package script

// anyProgram stands for a program that only the payload names.
const anyProgram = "/bin/sh"
