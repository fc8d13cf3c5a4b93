//go:build !unix

package handlers

import "io/fs"

// anyProgram stands for a program that is not known yet.
const anyProgram = `C:\Windows\System32\cmd.exe`

// changeable tells nothing: modes do not say here who may write.
func changeable(fs.FileInfo, bool) string { return "" }
