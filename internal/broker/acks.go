package broker

// Group is what acknowledges deliveries together, with fewer messages to the
// broker than one for each.
type Group interface {
	// AckGroup acknowledges deliveries of the group like Ack of each of them, and
	// no other, and returns an error, or nil, for each.
	AckGroup(deliveries []Delivery) []error
}

// Grouped is implemented by deliveries that can be acknowledged together with
// others.
type Grouped interface {
	// Group returns the group of the delivery, which is comparable.
	Group() Group
}

// AckAll acknowledges deliveries like Ack of each of them, together where they
// can be, and returns an error, or nil, for each.
func AckAll(deliveries []Delivery) []error {
	errs := make([]error, len(deliveries))
	var order []Group
	grouped := map[Group][]int{}
	for i, d := range deliveries {
		g, ok := d.(Grouped)
		if !ok {
			errs[i] = d.Ack()
			continue
		}
		group := g.Group()
		if grouped[group] == nil {
			order = append(order, group)
		}
		grouped[group] = append(grouped[group], i)
	}
	for _, group := range order {
		members := make([]Delivery, len(grouped[group]))
		for n, i := range grouped[group] {
			members[n] = deliveries[i]
		}
		for n, err := range group.AckGroup(members) {
			errs[grouped[group][n]] = err
		}
	}
	return errs
}
