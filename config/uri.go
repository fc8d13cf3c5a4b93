package config

import (
	"errors"
	"net/url"
	"slices"
	"strings"
)

// Masked stands for a secret wherever a configuration is shown.
const Masked = "****"

var (
	// errURI says nothing of the URI: what is wrong with it may be the
	// password.
	errURI      = errors.New("is no valid URI; special characters in a user or password must be percent-encoded, such as %40 for @")
	errPassword = errors.New("has a password, and there is a password_file too: give one of them")
)

// parseURI reads a URI with one of some schemes. Characters that a password
// may have brought out of its place are refused, so that no part of it is
// taken for something else and shown.
func parseURI(s string, schemes ...string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || u.Fragment != "" || strings.Contains(s, "#") ||
		strings.Contains(u.EscapedPath(), "@") || strings.Contains(u.RawQuery, "@") {
		return nil, errURI
	}
	if !slices.Contains(schemes, u.Scheme) {
		return nil, errors.New("has the wrong scheme: it begins with " + strings.Join(schemes, ":// or ") + "://")
	}
	return u, nil
}

// withPassword puts a password into a URI that has a user and no password.
func withPassword(u *url.URL, password string) error {
	if u.User == nil || u.User.Username() == "" {
		return errors.New("has no user for the password of password_file: give it as user@host")
	}
	if _, has := u.User.Password(); has {
		return errPassword
	}
	u.User = url.UserPassword(u.User.Username(), password)
	return nil
}

// maskURI hides the password of a URI, and all of what cannot be told apart.
func maskURI(s string) string {
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || u.Scheme == "" {
		return Masked
	}
	_, has := u.User.Password()
	inQuery := false
	for name := range u.Query() {
		inQuery = inQuery || secretName(name)
	}
	if inQuery {
		u.RawQuery = Masked // where a value ends is not certain
	}
	switch {
	case !has && !inQuery:
		return s // as it was written
	case !has:
		return u.String()
	}
	user := u.User.Username()
	u.User = url.UserPassword(user, "masked")
	before, after, _ := strings.Cut(u.String(), ":masked@")
	return before + ":" + Masked + "@" + after
}

// secretName tells whether something of that name holds a secret.
func secretName(name string) bool {
	name = strings.ToLower(name)
	if strings.HasSuffix(name, "_file") {
		return false
	}
	name = strings.ReplaceAll(name, "-", "_") // as headers are called
	return slices.ContainsFunc([]string{
		"passw", "passphrase", "secret", "token", "credential", "private", "api_key", "apikey", "access_key", "authorization", "cookie",
	}, func(part string) bool { return strings.Contains(name, part) })
}
