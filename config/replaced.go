package config

import "strings"

// replacedKeys says what replaced the keys of the first tasker, a Python
// program.
var replacedKeys = map[string]string{
	"manager.message_queue.host":         inBrokerURI,
	"manager.message_queue.port":         inBrokerURI,
	"manager.message_queue.username":     inBrokerURI,
	"manager.message_queue.user":         inBrokerURI,
	"manager.message_queue.password":     inBrokerURI + ", or put the password in a file named by manager.message_queue.password_file",
	"manager.message_queue.virtual_host": inBrokerURI,
	"manager.message_queue.vhost":        inBrokerURI,
	"manager.message_queue.exchange":     namedByTasker,
	"manager.message_queue.queue":        namedByTasker,
	"manager.message_queue.routing_key":  namedByTasker,
	"rabbitmq.apiurl":                    "use rabbitmq.management_uri, without the path: http://host:15672",
	"rabbitmq.username":                  "use rabbitmq.user",
	"manager.db.host":                    inDatabaseURI,
	"manager.db.port":                    inDatabaseURI,
	"manager.db.username":                inDatabaseURI,
	"manager.db.user":                    inDatabaseURI,
	"manager.db.database":                inDatabaseURI,
	"manager.db.password":                inDatabaseURI + ", or put the password in a file named by manager.db.password_file",
	"api.host":                           "use api.listen",
}

const (
	inBrokerURI   = "use manager.message_queue.uri: amqp://user:password@host:5672/virtual_host"
	inDatabaseURI = "use manager.db.uri: mysql://user:password@host:3306/database"
	namedByTasker = "remove it: tasker names exchanges and queues itself (tasker.<type>)"
)

// unknownKey returns the end of a message: what to write instead of a key that
// does not exist.
func unknownKey(name string, known []string) string {
	if instead, ok := replacedKeys[strings.ToLower(name)]; ok {
		return ": " + instead
	}
	return suggestion("", name, known)
}
