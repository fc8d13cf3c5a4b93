package web

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/text"
)

// loginPage is the page that asks for the token.
type loginPage struct {
	Next  string
	Wrong string // why the last one was refused; empty if there was none
}

// validNext is a page of the dashboard, relative to the first one.
var validNext = regexp.MustCompile(`^[a-z][A-Za-z0-9/._~-]*(\?[^#\\]*)?$`)

func showLogin(v *visit) error {
	return v.showLogin(http.StatusOK, loginPage{Next: v.param("next")})
}

func (v *visit) showLogin(status int, p loginPage) error {
	return v.show(status, "login", page{Title: "Log in", Body: p})
}

// login stores the token in the browser, if the API takes it.
func login(v *visit) error {
	if err := v.form(); err != nil {
		return err
	}
	p := loginPage{Next: text.Visible(v.r.PostForm.Get("next"))}
	token := strings.TrimSpace(v.r.PostForm.Get("token"))
	if !validToken(token) {
		p.Wrong = "invalid token: must be printable ASCII characters without blanks"
		return v.showLogin(http.StatusUnauthorized, p)
	}
	v.token = token
	_, err := v.api.TaskTypes(v.ctx())
	v.token = ""
	switch {
	case tasker.CodeOf(err) == tasker.Unauthorized:
		p.Wrong = "invalid token: the API does not accept it"
		return v.showLogin(http.StatusUnauthorized, p)
	case err != nil:
		return err
	}
	c := cookie(v.r, token)
	if c.Secure && strings.HasPrefix(v.r.Header.Get("Origin"), "http://") {
		p.Wrong = "the browser keeps a token only if the page comes over https: " +
			"set api.tls, put a proxy with TLS before the API, or open it on its own host"
		return v.showLogin(http.StatusBadRequest, p)
	}
	http.SetCookie(v.w, c)
	if !validNext.MatchString(p.Next) || strings.Contains(p.Next, "..") || strings.Contains(p.Next, "//") {
		p.Next = ""
	}
	return v.redirect(p.Next)
}

// logout takes the token from the browser.
func logout(v *visit) error {
	c := cookie(v.r, "")
	c.MaxAge = -1
	http.SetCookie(v.w, c)
	return v.redirect("login")
}

// askToken sends a browser whose token is missing, or no longer valid, to the page
// that asks for it, and then back.
func (v *visit) askToken() {
	next := strings.TrimPrefix(v.self, "./")
	if v.r.Method != http.MethodGet || !validNext.MatchString(next) {
		_ = v.redirect("login") // it does not fail
		return
	}
	_ = v.redirect("login?next=" + url.QueryEscape(next))
}

// form reads a form.
func (v *visit) form() error {
	if err := v.r.ParseForm(); err != nil {
		return tasker.WrapError(tasker.Malformed, err, "invalid form: send it again; payloads of more than 1 MB go to the API itself")
	}
	return nil
}
