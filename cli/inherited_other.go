//go:build !linux

package cli

func keepToOurselves() {}
