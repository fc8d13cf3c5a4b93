package schema

import "runtime"

// pool holds the instances of one schema. As many validations run at the same
// time as there are processors, which is what they use, and at least two; the
// next waits for one of them. So neither instances nor the violations of large
// payloads, which take hundreds of times their size, fill the memory.
type pool struct {
	document any
	idle     chan *instance
	slots    chan struct{} // one for each instance that there is
}

// newPool returns a pool with one instance, or says what is wrong with the
// document.
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

// take returns an instance that is idle, or else a new one, or else the next
// that gets idle. The caller puts it back into idle.
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

// validate holds a value, of so many bytes, against the schema.
func (p *pool) validate(value any, size int) error {
	i, err := p.take()
	if err != nil {
		return err
	}
	defer func() { p.idle <- i }()
	return i.validate(value, size)
}
