package schema

// Occupy takes one instance away, as a validation that goes on does, until
// release is called.
func (s *Schema) Occupy() (release func(), err error) {
	i, err := s.pool.take()
	return func() { s.pool.idle <- i }, err
}
