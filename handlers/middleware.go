package handlers

import (
	"errors"
	"io"
	"iter"
	"reflect"
	"slices"
)

// Middleware wraps a Handler in another one. It need not forward the optional
// interfaces of the inner one, such as [Checker] and [io.Closer]: [Find] and
// [Close] look at everything that is wrapped.
type Middleware func(Handler) Handler

// Wrap wraps a handler in middleware, the first outermost.
func Wrap(h Handler, middleware ...Middleware) Handler {
	for _, outer := range slices.Backward(middleware) {
		h = &wrapped{outer(h), h}
	}
	return h
}

// wrapped records what a middleware wraps, so that the middleware need not.
type wrapped struct {
	Handler
	inner Handler
}

func (w *wrapped) Unwrap() Handler { return w.inner }

// chain yields a handler and what it wraps, the outermost first. A handler that wraps
// others without [Wrap] must have a method Unwrap() Handler.
func chain(h Handler) iter.Seq[Handler] {
	return func(yield func(Handler) bool) {
		for h != nil {
			outer := h
			if w, ok := h.(*wrapped); ok {
				outer = w.Handler
			}
			if !yield(outer) {
				return
			}
			wrapper, ok := h.(interface{ Unwrap() Handler })
			if !ok {
				return
			}
			h = wrapper.Unwrap()
		}
	}
}

// Find returns the first T, such as a [Checker], among a handler and those that it
// wraps, the outermost first.
func Find[T any](h Handler) (found T, ok bool) {
	for one := range chain(h) {
		if found, ok = one.(T); ok {
			return found, true
		}
	}
	return found, false
}

// Close closes each [io.Closer] among a handler and those that it wraps, the outermost
// first. A middleware must not close what it wraps.
func Close(h Handler) error { return closeAll(h) }

// closeAll closes each closer once, even if handlers share it.
func closeAll(handlers ...Handler) error {
	var errs []error
	closed := map[io.Closer]bool{}
	for _, h := range handlers {
		for one := range chain(h) {
			closer, ok := one.(io.Closer)
			if !ok {
				continue
			}
			if reflect.ValueOf(closer).Comparable() {
				if closed[closer] {
					continue
				}
				closed[closer] = true
			}
			errs = append(errs, closer.Close())
		}
	}
	return errors.Join(errs...)
}

// Described returns a handler with a description; see [Describer].
func Described(h Handler, d Description) Handler { return &described{h, d} }

type described struct {
	Handler
	description Description
}

var _ Describer = (*described)(nil)

func (d *described) Describe() Description { return d.description }
func (d *described) Unwrap() Handler       { return d.Handler }
