package identity_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/identity"
)

var form = regexp.MustCompile(`^tasker_ep_[0-9A-Za-z]{49}$`)

func TestTokenForm(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	letters := map[byte]int{}
	for range 2000 {
		token := identity.NewToken()
		if !form.MatchString(token) || seen[token] {
			t.Fatalf("token %q", token)
		}
		seen[token] = true
		if _, err := identity.Sum(token); err != nil {
			t.Fatal(err)
		}
		for i := range 43 {
			letters[token[len(identity.Prefix)+i]]++
		}
	}
	// 86,000 characters, 1,387 of each on average: a character that is drawn
	// twice as often as others, or never, is far outside.
	for c, n := range letters {
		if n < 1000 || n > 1800 {
			t.Errorf("%q came %d times", c, n)
		}
	}
	if len(letters) != 62 {
		t.Errorf("%d different characters", len(letters))
	}
}

// A token of which a character is wrong or missing is told from an unknown one,
// and the message does not contain it.
func TestWrongTokens(t *testing.T) {
	t.Parallel()
	token := identity.NewToken()
	wrong := []string{"", "tasker_ep_", token + "0", token[:len(token)-1], " " + token, strings.ToUpper(token), "s3cret" + token}
	for i := len(identity.Prefix); i < len(token); i++ {
		for _, c := range []byte("aZ0-\x00") {
			if other := token[:i] + string(c) + token[i+1:]; other != token {
				wrong = append(wrong, other)
			}
		}
	}
	for _, w := range wrong {
		_, err := identity.Sum(w)
		if tasker.CodeOf(err) != tasker.Unauthorized {
			t.Errorf("%q: %v", w, err)
		} else if len(w) > 20 && strings.Contains(err.Error(), w[12:]) {
			t.Errorf("the message contains the token: %v", err)
		}
	}
}

// The tokens of endpoints and those of principals are no tokens of each other.
func TestPrincipalTokens(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^tasker_[0-9A-Za-z]{49}$`)
	token, other := identity.NewPrincipalToken(), identity.NewToken()
	if _, err := identity.SumPrincipal(token); err != nil || !form.MatchString(token) || token == identity.NewPrincipalToken() {
		t.Errorf("%q: %v", token, err)
	}
	if _, err := identity.SumPrincipal(other); tasker.CodeOf(err) != tasker.Unauthorized {
		t.Errorf("the token of an endpoint is one of a principal: %v", err)
	}
	if _, err := identity.Sum(token); tasker.CodeOf(err) != tasker.Unauthorized {
		t.Errorf("the token of a principal is one of an endpoint: %v", err)
	}
	if _, err := identity.SumPrincipal(token[:len(token)-1]); tasker.CodeOf(err) != tasker.Unauthorized || strings.Contains(err.Error(), token[10:]) {
		t.Error(err)
	}
}

func FuzzSum(f *testing.F) {
	f.Add("tasker_ep_")
	f.Add(identity.NewToken())
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := identity.Sum(s); err == nil && !form.MatchString(s) {
			t.Errorf("%q is a token", s)
		}
	})
}
