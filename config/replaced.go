package config

import "strings"

// replacedKeys are keys of the first tasker, a Python program, by path, and what
// took their place.
var replacedKeys = map[string]string{
	"manager.message_queue.host":         inBrokerURI,
	"manager.message_queue.port":         inBrokerURI,
	"manager.message_queue.username":     inBrokerURI,
	"manager.message_queue.user":         inBrokerURI,
	"manager.message_queue.password":     inBrokerURI + ", or the password alone in a file that manager.message_queue.password_file names",
	"manager.message_queue.virtual_host": inBrokerURI,
	"manager.message_queue.vhost":        inBrokerURI,
	"manager.message_queue.exchange":     namedByTasker,
	"manager.message_queue.queue":        namedByTasker,
	"manager.message_queue.routing_key":  namedByTasker,
	"rabbitmq.apiurl":                    "it is rabbitmq.management_uri now, without the path: http://host:15672",
	"rabbitmq.username":                  "it is rabbitmq.user now",
	"manager.db.host":                    inDatabaseURI,
	"manager.db.port":                    inDatabaseURI,
	"manager.db.username":                inDatabaseURI,
	"manager.db.user":                    inDatabaseURI,
	"manager.db.database":                inDatabaseURI,
	"manager.db.password":                inDatabaseURI + ", or the password alone in a file that manager.db.password_file names",
	"api.host":                           "it is api.listen now",
}

const (
	inBrokerURI   = "it is a part of manager.message_queue.uri: amqp://user:password@host:5672/virtual_host"
	inDatabaseURI = "it is a part of manager.db.uri: mysql://user:password@host:3306/database"
	namedByTasker = "leave it out, since each task type has an exchange, and each endpoint queues, that tasker names itself (tasker.<type>)"
)

// unknownKey says, as the end of a message, what to write instead of a key that
// does not exist.
func unknownKey(name string, known []string) string {
	if instead, ok := replacedKeys[strings.ToLower(name)]; ok {
		return "; " + instead
	}
	return suggestion("", name, known)
}
