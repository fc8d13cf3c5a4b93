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
	// errURI quotes nothing: the mistake may be in the password.
	errURI      = errors.New("malformed URI: percent-encode special characters in the user and password, such as %40 for @")
	errPassword = errors.New("must have no password beside password_file")
)

// parseURI reads a URI with one of the schemes. It refuses characters that a
// password may have carried out of its place, so that no part of a password is
// taken for something else and shown.
func parseURI(s string, schemes ...string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || u.Fragment != "" || strings.Contains(s, "#") ||
		strings.Contains(u.EscapedPath(), "@") || strings.Contains(u.RawQuery, "@") {
		return nil, errURI
	}
	if !slices.Contains(schemes, u.Scheme) {
		return nil, errors.New("must start with " + strings.Join(schemes, ":// or ") + "://")
	}
	return u, nil
}

// withPassword puts a password into a URI that has a user and no password.
func withPassword(u *url.URL, password string) error {
	if u.User == nil || u.User.Username() == "" {
		return errors.New("must name the user of password_file, as user@host")
	}
	if _, has := u.User.Password(); has {
		return errPassword
	}
	u.User = url.UserPassword(u.User.Username(), password)
	return nil
}

// maskAddress masks a URI, or each of several.
func maskAddress(value any) any {
	if list, ok := value.([]string); ok {
		masked := make([]any, len(list))
		for i, uri := range list {
			masked[i] = maskURI(uri)
		}
		return masked
	}
	return maskURI(value.(string))
}

// maskAll masks everything but an empty text.
func maskAll(value any) any {
	if value == "" {
		return ""
	}
	return Masked
}

// maskURI hides the password of a URI and the values of its query. Everything
// between // and the last @ counts as user and password, whatever characters it
// contains, and any parameter may be a secret. It hides all of a text whose
// parts it cannot tell apart.
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

// maskQuery hides a query from the first value that may be a secret, since the
// end of that is not certain. Values of tasker's own parameters are not secret,
// nor are placeholders that a task fills in.
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

// isPlace reports whether a text is only ${name}, which a task fills in.
func isPlace(text string) bool {
	return strings.HasPrefix(text, "${") && strings.IndexByte(text, '}') == len(text)-1
}

// secretName reports whether something of that name contains a secret.
func secretName(name string) bool {
	name = strings.ToLower(name)
	if strings.HasSuffix(name, "_file") {
		return false
	}
	name = strings.ReplaceAll(name, "-", "_") // as in headers
	return slices.ContainsFunc([]string{
		"passw", "passphrase", "secret", "token", "credential", "private", "api_key", "apikey", "access_key", "authorization", "cookie",
	}, func(part string) bool { return strings.Contains(name, part) })
}
