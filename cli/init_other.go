//go:build !linux

package cli

func asInit() (code int, ok bool) { return 0, false }
