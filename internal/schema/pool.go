package schema

import "runtime"

// pool contains the instances of one schema. As many validations run at once as
// there are processors, and at least two; others wait. This bounds the memory for
// instances, and for the violations of large payloads, which take hundreds of
// times their size.
type pool struct {
	document any
	idle     chan *instance
	slots    chan struct{} // one for each instance
}

// newPool returns a pool with one instance.
func newPool(document any) (*pool, error) {
	size := max(2, runtime.GOMAXPROCS(0))
	p := &pool{document: document, idle: make(chan *instance, size), slots: make(chan struct{}, size)}
	i, err := p.take()
	if err != nil {
		return nil, err
	}
	p.idle <- i
	return p, nil
}

// take returns an idle instance, or a new one, or waits for one. The caller puts
// it back into idle.
func (p *pool) take() (*instance, error) {
	select {
	case i := <-p.idle:
		return i, nil
	default:
	}
	select {
	case i := <-p.idle:
		return i, nil
	case p.slots <- struct{}{}:
		i, err := newInstance(p.document)
		if err != nil {
			<-p.slots
		}
		return i, err
	}
}

// validate validates a value of that many bytes.
func (p *pool) validate(value any, size int) error {
	i, err := p.take()
	if err != nil {
		return err
	}
	defer func() { p.idle <- i }()
	return i.validate(value, size)
}
