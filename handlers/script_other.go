//go:build !unix

package handlers

// anyProgram stands for a program that is not known yet.
const anyProgram = `C:\Windows\System32\cmd.exe`
