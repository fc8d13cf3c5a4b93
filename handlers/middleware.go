package handlers

import (
	"errors"
	"io"
	"iter"
	"reflect"
	"slices"
)

// Middleware makes a Handler that does something around another one. What the
// inner one is besides, a [Checker], a [Describer] or an [io.Closer], need not
// be forwarded: [Find] and [Close] look at all that is wrapped.
type Middleware func(Handler) Handler

// Wrap puts middleware around a handler; the first one is the outermost.
func Wrap(h Handler, middleware ...Middleware) Handler {
	for _, outer := range slices.Backward(middleware) {
		h = &wrapped{outer(h), h}
	}
	return h
}

// wrapped remembers what a middleware wraps, so that this need not.
type wrapped struct {
	Handler
	inner Handler
}

func (w *wrapped) Unwrap() Handler { return w.inner }

// chain gives a handler and what it wraps, from the outside. What wraps
// others without [Wrap] tells so by a method Unwrap() Handler.
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

// Find looks for a T, such as a [Checker], in a handler and in those that it
// wraps, the outermost first.
func Find[T any](h Handler) (found T, ok bool) {
	for one := range chain(h) {
		if found, ok = one.(T); ok {
			return found, true
		}
	}
	return found, false
}

// Close closes those of a handler and of what it wraps that are an
// [io.Closer], the outermost first. A middleware must not close what it wraps.
func Close(h Handler) error { return closeAll(h) }

// closeAll closes each closer once, also where handlers share one.
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

// Described gives a handler a description; see [Describer].
func Described(h Handler, d Description) Handler { return &described{h, d} }

type described struct {
	Handler
	description Description
}

var _ Describer = (*described)(nil)

func (d *described) Describe() Description { return d.description }
func (d *described) Unwrap() Handler       { return d.Handler }
