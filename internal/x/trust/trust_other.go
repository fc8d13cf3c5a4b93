//go:build !unix

package trust

// walk finds nothing: modes do not say here who may write.
func (Policy) walk(string) error { return nil }
