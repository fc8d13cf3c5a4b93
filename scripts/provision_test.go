package scripts_test

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"
)

// awkward is a password with everything that a shell, SQL or a file of curl's
// could take for something else.
const awkward = "Pas$word `touch ran` $(touch ran) \"q\" 'r' \\n \\ #;&|<>*?~! ä %s "

// TestPasswordPassesVagrantsShell: Vagrant writes variables in double quotes
// into a command line of the machine, doubling only those that they contain.
func TestPasswordPassesVagrantsShell(t *testing.T) {
	t.Parallel()
	vagrantfile, err := os.ReadFile("../Vagrantfile")
	if err != nil {
		t.Fatal(err)
	}
	const line = `"MYSQL_PASSWD_BASE64" => [ENV["MYSQL_PASSWD"].to_s].pack("m0"),`
	if !strings.Contains(string(vagrantfile), line) || strings.Count(string(vagrantfile), `ENV["MYSQL_PASSWD"].to_s`) != 2 {
		t.Fatalf("the Vagrantfile does not hand the password over as %s", line)
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(awkward))
	got := bash(t, `MYSQL_PASSWD_BASE64="`+encoded+`"
take_password
[ ! -e ran ] || die "a command of the password ran"
[ -z "${MYSQL_PASSWD_BASE64-}" ]
printenv MYSQL_PASSWD && die "it is in the environment of other programs"
printf '%s' "$MYSQL_PASSWD"`, []string{"provision-lib.sh"})
	if got != awkward {
		t.Errorf("the password became %q, want %q", got, awkward)
	}
}

// TestPasswordKeepsItsLineEnd so that it is refused rather than changed.
func TestPasswordKeepsItsLineEnd(t *testing.T) {
	t.Parallel()
	got := bash(t, `MYSQL_PASSWD_BASE64=YQo=
take_password
printf '%q' "$MYSQL_PASSWD"`, []string{"provision-lib.sh"})
	if got != `$'a\n'` {
		t.Errorf("the password became %s", got)
	}
}

// TestQuoting: what goes into SQL and into a file of curl's is quoted for it.
func TestQuoting(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"sql_text":  `'a\\b\'c"d $e'`,
		"curl_text": `"a\\b'c\"d $e"`,
	} {
		if got := bash(t, name+` 'a\b'"'"'c"d $e'`, []string{"provision-lib.sh"}); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
