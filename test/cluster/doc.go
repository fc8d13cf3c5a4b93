// Package cluster holds tasker against a RabbitMQ cluster of three nodes, with
// quorum queues, whose nodes die and freeze under load. Its tests take minutes
// and have the build tag "cluster": make test-cluster runs them.
package cluster
