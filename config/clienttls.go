package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/taskerhq/tasker/internal/x/certfile"
)

// The parts of the configuration with the files for connections with TLS.
const (
	databaseTLS = "manager.db.tls"
	brokerTLS   = "manager.message_queue.tls"
)

// clientTLSKeys are those of the files for connections to a server. on says what the
// address must have.
func clientTLSKeys(section string, files *certfile.ClientFiles, server, on string) []key {
	return []key{
		{
			section + ".ca_file", forBoth, "file with the certificates (PEM) of the authorities that the certificate of " + server +
				" may come from, read again when it changes; by default those of the system. Needs " + on,
			text(&files.CA),
		},
		{
			section + ".cert_file", forBoth, "file with tasker's own certificate and its chain (PEM), where " + server +
				" asks for one, read again when it changes",
			text(&files.Cert),
		},
		{section + ".key_file", forBoth, "file with its private key (PEM), read again when it changes", text(&files.Key)},
		{
			section + ".server_name", forBoth, "a name in the certificate of " + server + ", where the host in the address is none",
			text(&files.ServerName),
		},
	}
}

// setKeys returns the keys of a section that have a value.
func setKeys(section string, files certfile.ClientFiles) []string {
	var list []string
	for _, k := range clientTLSKeys(section, &files, "", "") {
		if k.get() != "" {
			list = append(list, k.path)
		}
	}
	return list
}

// checkClientTLS checks the files for connections to a server. off says why its
// address uses none, and what to do; it is empty if it uses them.
func (c *checker) checkClientTLS(section string, files *certfile.ClientFiles, off string) {
	certKey, keyKey, caKey := section+".cert_file", section+".key_file", section+".ca_file"
	files.Cert, files.Key, files.CA = c.path(certKey, files.Cert), c.path(keyKey, files.Key), c.path(caKey, files.CA)
	if off != "" {
		for _, path := range setKeys(section, *files) {
			c.invalid(path, "not used: %s", off)
		}
		return
	}
	c.certificate(certKey, files.Cert, keyKey, files.Key)
	if files.CA != "" {
		if _, err := certfile.Pool(files.CA); err != nil {
			c.invalid(caKey, "%v", err)
		}
	}
	if strings.ContainsAny(files.ServerName, ":/ ") {
		c.invalid(section+".server_name", "must be a host name without a port, got %s", quote(files.ServerName))
	}
}

// checkDatabaseTLS checks the files for connections to the database.
func (c *checker) checkDatabaseTLS(u *url.URL) {
	off := ""
	switch mode := u.Query().Get("tls"); {
	case u.Scheme == "sqlite":
		off = "a sqlite database is a file of this machine"
	case mode == "true":
	case mode == "" || mode == "false":
		off = "add ?tls=true to " + databaseURIKey
	default:
		off = "tls=" + mode + " does not check the certificate of the database: use ?tls=true in " + databaseURIKey
	}
	c.checkClientTLS(databaseTLS, &c.Store.TLS, off)
}

// fileParameters are those of amqps:// addresses that name files, or what is said with
// them, and the keys that do.
var fileParameters = [][2]string{
	{"cacertfile", brokerTLS + ".ca_file"},
	{"certfile", brokerTLS + ".cert_file"},
	{"keyfile", brokerTLS + ".key_file"},
	{"server_name_indication", brokerTLS + ".server_name"},
}

// checkBrokerTLS checks the files for connections to RabbitMQ, some of which the
// parameters of its addresses may name.
func (c *checker) checkBrokerTLS(addresses []*url.URL) {
	off := "use amqps:// in " + brokerURIKey
	set := setKeys(brokerTLS, c.Rabbit.TLS)
	for i, u := range addresses {
		if u.Scheme != "amqps" {
			continue
		}
		off = ""
		if err := checkFileParameters(u.Query()); err != nil {
			c.invalid(brokerURIKey, "%s%v", whichAddress(i, len(addresses)), err)
		}
		for _, p := range fileParameters {
			if u.Query().Has(p[0]) && slices.Contains(set, p[1]) {
				c.invalid(p[1], "must not be set beside the parameter %s of %s", p[0], brokerURIKey)
			}
		}
	}
	c.checkClientTLS(brokerTLS, &c.Rabbit.TLS, off)
}

// checkFileParameters checks the files that parameters name.
func checkFileParameters(given url.Values) error {
	cert, key, ca := given.Get("certfile"), given.Get("keyfile"), given.Get("cacertfile")
	if (cert == "") != (key == "") {
		return errors.New("parameters certfile and keyfile belong together: give both, or neither")
	}
	if cert != "" {
		if _, err := certfile.Load(cert, key); err != nil {
			return fmt.Errorf("invalid parameter \"certfile\": %w", err)
		}
	}
	if ca != "" {
		if _, err := certfile.Pool(ca); err != nil {
			return fmt.Errorf("invalid parameter \"cacertfile\": %w", err)
		}
	}
	return nil
}

// whichAddress returns the beginning of a message about one of several addresses.
func whichAddress(i, n int) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf("address %d: ", i+1)
}
