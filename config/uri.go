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

// maskURI hides the password of a URI and the values of its query: between //
// and the last @ all is a user and a password, whatever characters it holds, and
// any parameter may be a secret. What cannot be told apart is hidden as a whole.
func maskURI(s string) string {
	if s == "" {
		return ""
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme == "" || strings.ContainsAny(scheme, "@?#/") {
		return Masked
	}
	account := ""
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, _, has := strings.Cut(rest[:at], ":")
		switch {
		case strings.ContainsAny(user, "/?#@"): // of a password that has no user
			account = Masked + "@"
		case has:
			account = user + ":" + Masked + "@"
		default:
			account = user + "@"
		}
		rest = rest[at+1:]
	}
	place, fragment, hasFragment := strings.Cut(rest, "#")
	place, query, hasQuery := strings.Cut(place, "?")
	masked := scheme + "://" + account + place
	if hasQuery {
		masked += "?" + maskQuery(query)
	}
	if hasFragment && fragment != "" {
		masked += "#" + Masked
	}
	return masked
}

// maskQuery hides a query from the first value on that may be a secret, since
// where that ends is not certain. Those of tasker's own parameters are none, nor
// is what a task gives.
func maskQuery(query string) string {
	parts := strings.Split(query, "&")
	for i, part := range parts {
		name, value, ok := strings.Cut(part, "=")
		_, database := databaseParameters[name]
		_, broker := brokerParameters[name]
		if known := database || broker || isPlace(value); ok && known {
			continue
		}
		if parts[i] = Masked; ok {
			parts[i] = name + "=" + Masked
		}
		return strings.Join(parts[:i+1], "&")
	}
	return query
}

// isPlace reports whether a text is nothing but ${name}, which a task fills in.
func isPlace(text string) bool {
	return strings.HasPrefix(text, "${") && strings.IndexByte(text, '}') == len(text)-1
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
