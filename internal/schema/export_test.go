package schema

// Occupy takes an instance, as a running validation does, until release is
// called.
func (s *Schema) Occupy() (release func(), err error) {
	i, err := s.pool.take()
	return func() { s.pool.idle <- i }, err
}
