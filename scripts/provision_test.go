package scripts_test

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"
)

// awkward is a password with all characters that are special in a shell, SQL or
// a curl configuration file.
const awkward = "Pas$word `touch ran` $(touch ran) \"q\" 'r' \\n \\ #;&|<>*?~! ä %s "

// Vagrant puts variables in double quotes on a shell command line, and doubles
// only double quotes in them.
func TestPasswordPassesVagrantsShell(t *testing.T) {
	t.Parallel()
	vagrantfile, err := os.ReadFile("../Vagrantfile")
	if err != nil {
		t.Fatal(err)
	}
	const line = `"MYSQL_PASSWD_BASE64" => [ENV["MYSQL_PASSWD"].to_s].pack("m0"),`
	if !strings.Contains(string(vagrantfile), line) || strings.Count(string(vagrantfile), `ENV["MYSQL_PASSWD"].to_s`) != 2 {
		t.Fatalf("the Vagrantfile does not contain %s", line)
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(awkward))
	got := bash(t, `MYSQL_PASSWD_BASE64="`+encoded+`"
take_password
[ ! -e ran ] || die "a command in the password was executed"
[ -z "${MYSQL_PASSWD_BASE64-}" ]
printenv MYSQL_PASSWD && die "the password is in the environment"
printf '%s' "$MYSQL_PASSWD"`, []string{"provision-lib.sh"})
	if got != awkward {
		t.Errorf("password %q, want %q", got, awkward)
	}
}

// A newline must be refused, not dropped.
func TestPasswordKeepsItsLineEnd(t *testing.T) {
	t.Parallel()
	got := bash(t, `MYSQL_PASSWD_BASE64=YQo=
take_password
printf '%q' "$MYSQL_PASSWD"`, []string{"provision-lib.sh"})
	if got != `$'a\n'` {
		t.Errorf("password %s", got)
	}
}

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
