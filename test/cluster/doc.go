// Package cluster tests tasker on a RabbitMQ cluster of three nodes with quorum
// queues, while nodes are killed and frozen under load. Its tests take minutes
// and have the build tag "cluster"; "make test-cluster" runs them.
package cluster
