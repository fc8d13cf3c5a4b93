package selector

import "slices"

// All reports whether the selector obviously chooses every endpoint.
func (s Selector) All() bool { return s.all }

// All reports whether one of the selectors obviously chooses every endpoint.
func (u Union) All() bool { return slices.ContainsFunc(u, Selector.All) }
