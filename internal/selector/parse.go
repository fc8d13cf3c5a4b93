package selector

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/taskerhq/tasker/internal/x/text"
)

// The limits of one selector.
const (
	MaxText   = 4096 // bytes, as given and in the canonical form
	MaxTerms  = 64
	MaxValues = 1000 // in all lists together
)

// SyntaxError is the error for text that is not a selector.
type SyntaxError struct {
	Column  int    // where, 1-based, in characters
	Message string // what was expected there, and what was found
	Number  int    // of the selector in a list, 1-based; 0 for one that was alone
}

// Error returns the message, after the number and the column.
func (e *SyntaxError) Error() string {
	if e.Number > 0 {
		return fmt.Sprintf("invalid selector %d: column %d: %s", e.Number, e.Column, e.Message)
	}
	return fmt.Sprintf("invalid selector: column %d: %s", e.Column, e.Message)
}

// Parse parses a selector. The error is a *[SyntaxError], or [ErrAll] if the
// selector obviously chooses every endpoint. With ErrAll the selector is valid:
// a caller that allows it goes on, and one that forgets to decide fails.
func Parse(selector string) (Selector, error) {
	if err := checkText(selector); err != nil {
		return Selector{}, err
	}
	if strings.Trim(selector, space+"*") == "" {
		return newSelector(nil), ErrAll
	}
	p := &parser{text: []rune(selector)}
	terms, err := p.terms()
	if err != nil {
		return Selector{}, err
	}
	s := newSelector(terms)
	switch {
	case s.all:
		return s, ErrAll
	case len(s.text) > MaxText: // it can be longer than what was given
		return Selector{}, tooLong(selector)
	}
	return s, nil
}

const space = " \t\r\n"

func checkText(selector string) error {
	if len(selector) > MaxText {
		return tooLong(text.Cut(selector, MaxText))
	}
	for i, r := range selector {
		if _, size := utf8.DecodeRuneInString(selector[i:]); r == utf8.RuneError && size == 1 {
			return &SyntaxError{Column: utf8.RuneCountInString(selector[:i]) + 1, Message: "invalid UTF-8"}
		}
	}
	return nil
}

// tooLong returns the error for a text of which only the beginning is allowed.
func tooLong(beginning string) error {
	return &SyntaxError{
		Column:  utf8.RuneCountInString(beginning) + 1,
		Message: fmt.Sprintf("too long: must be at most %d bytes: use several selectors", MaxText),
	}
}

// parser reads a selector from left to right.
type parser struct {
	text   []rune
	at     int // index of the next character
	values int // so far, in lists
}

// hints are for what people write who know another language.
var hints = map[string]string{
	"and": `"," is and`, "AND": `"," is and`, "&": `"," is and`,
	"or": "for or, use several selectors, or in (a,b)", "OR": "for or, use several selectors, or in (a,b)",
	"|":   "for or, use several selectors, or in (a,b)",
	"not": "write notin, != or !label", "NOT": "write notin, != or !label",
	"IN": "write in", "NOTIN": "write notin",
	":": "write = between label and value", ";": "write a comma",
	"*": "a pattern needs a key, such as name~web*",
	"'": "use double quotes", "[": "use round brackets for a list",
	"==": "write =", "=~": "write ~", "!=~": "write !~", "=!": "write !=", "<>": "write !=", "~=": "write ~",
	"<": `only "seen" can be compared`, ">": `only "seen" can be compared`, "<=": "write <", ">=": "write >",
}

// expected returns the error that something else than what is at an index was
// expected there.
func (p *parser) expected(at int, what string) error {
	found := p.found(at)
	message := fmt.Sprintf("expected %s, got the end", what)
	if found != "" {
		message = fmt.Sprintf("expected %s, got %q", what, text.Shorten(found, 40))
	}
	if hint, ok := hints[found]; ok {
		message += ": " + hint
	}
	return &SyntaxError{Column: at + 1, Message: message}
}

func (p *parser) invalid(at int, message string) error {
	return &SyntaxError{Column: at + 1, Message: message}
}

// found returns the word, the operator or else the character at an index, and
// nothing at the end.
func (p *parser) found(at int) string {
	for _, is := range []func(rune) bool{func(r rune) bool { return isBare(r, 0, false) && r != ':' }, isOperator} {
		if found := p.run(at, is); found != "" {
			return found
		}
	}
	return string(p.text[at:min(at+1, len(p.text))])
}

// run returns the characters from an index on that are all such.
func (p *parser) run(at int, is func(rune) bool) string {
	end := at
	for end < len(p.text) && is(p.text[end]) {
		end++
	}
	return string(p.text[at:end])
}

func isOperator(r rune) bool { return strings.ContainsRune("=!~<>", r) }

func isKey(r rune) bool {
	return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._/-", r))
}

// next skips spaces and returns the next character, or 0 at the end.
func (p *parser) next() rune {
	for ; p.at < len(p.text); p.at++ {
		if !strings.ContainsRune(space, p.text[p.at]) {
			return p.text[p.at]
		}
	}
	return 0
}

func (p *parser) ended() bool { return p.at == len(p.text) }

func (p *parser) terms() ([]term, error) {
	var terms []term
	for {
		p.next()
		if len(terms) == MaxTerms {
			return nil, p.invalid(p.at, fmt.Sprintf("too many terms: must be at most %d: use in (a,b), or several selectors", MaxTerms))
		}
		t, err := p.term()
		if err != nil {
			return nil, err
		}
		terms = append(terms, t)
		switch after := p.next(); {
		case p.ended():
			return terms, nil
		case after != ',':
			return nil, p.expected(p.at, `"," or the end`)
		}
		p.at++
	}
}

func (p *parser) term() (t term, err error) {
	if p.next() == '!' {
		p.at++
		return p.negated()
	}
	t.column = p.at + 1
	if t.key, err = p.key(`a label, or "name", "type", "version", "seen" or "drained"`); err != nil {
		return t, err
	}
	if t.op, err = p.operator(t.key); err != nil {
		return t, err
	}
	switch t.op {
	case opIn, opNotIn:
		err = p.list(&t)
	case opHas:
	default:
		err = p.operand(&t)
	}
	return t, err
}

// negated reads a term after its "!".
func (p *parser) negated() (t term, err error) {
	p.next()
	t.column, t.op = p.at+1, opLacks
	if t.key, err = p.key(`a label or "drained" after "!"`); err != nil {
		return t, err
	}
	if _, alone := operators(t.key); !alone {
		return t, p.expected(t.column-1, `a label or "drained" after "!"`)
	}
	if after := p.next(); !p.ended() && after != ',' {
		return t, p.expected(p.at, fmt.Sprintf(`"," or the end after "!%s" (or write %s!=value)`, t.key, t.key))
	}
	return t, nil
}

func (p *parser) key(what string) (string, error) {
	start := p.at
	key := p.run(start, isKey)
	if key == "" {
		return "", p.expected(start, what)
	}
	p.at += len(key)
	if slices.Contains(attributes, key) {
		return key, nil
	}
	if err := ValidLabelKey(key); err != nil {
		return "", p.invalid(start, err.Error())
	}
	return key, nil
}

func (p *parser) operator(key string) (string, error) {
	ops, alone := operators(key)
	after := p.next()
	if alone && (p.ended() || after == ',') {
		return opHas, nil
	}
	op := p.found(p.at)
	if slices.Contains(ops, op) {
		p.at += len(op)
		return op, nil
	}
	or := ""
	if alone {
		or = ` or ","`
	}
	return "", p.expected(p.at, fmt.Sprintf(`an operator (%s)%s after %q`, strings.Join(ops, " "), or, key))
}

// operand reads what follows an operator that takes one value.
func (p *parser) operand(t *term) error {
	pattern := t.op == opLike || t.op == opUnlike
	v, err := p.value(t, t.op, pattern)
	if err != nil {
		return err
	}
	switch {
	case pattern:
		t.glob, err = compile(v.text, v.at)
		return err
	case t.key == keySeen:
		var problem string
		if t.age, problem = readAge(string(v.text)); problem != "" {
			return p.invalid(v.start, problem)
		}
	case t.key == keyDrained:
		switch string(v.text) {
		case "true":
			t.op = opHas
		case "false":
			t.op = opLacks
		default:
			return p.expected(v.start, "true or false")
		}
	default:
		t.values = []string{string(v.text)}
		t.op = map[string]string{opEqual: opIn, opNotEqual: opNotIn}[t.op]
	}
	return nil
}

// list reads the values of opIn and opNotIn.
func (p *parser) list(t *term) error {
	if p.next() != '(' {
		return p.expected(p.at, fmt.Sprintf(`"(" after %q`, t.op))
	}
	for after := "("; ; after = "," {
		p.at++
		v, err := p.value(t, after, false)
		if err != nil {
			return err
		}
		if p.values++; p.values > MaxValues {
			return p.invalid(v.start, fmt.Sprintf("too many values: must be at most %d: use a pattern, or several selectors", MaxValues))
		}
		t.values = append(t.values, string(v.text))
		switch p.next() {
		case ',':
		case ')':
			p.at++
			slices.Sort(t.values)
			t.values = slices.Compact(t.values)
			return nil
		default:
			return p.expected(p.at, `"," or ")"`)
		}
	}
}

// literal is a value or pattern without its quotes.
type literal struct {
	start int // index of its beginning
	text  []rune
	at    []int // index of each character
}

func (l *literal) add(r rune, at int) { l.text, l.at = append(l.text, r), append(l.at, at) }

// value reads what is compared with the term's key.
func (p *parser) value(t *term, after string, pattern bool) (v literal, err error) {
	if p.next() == '"' {
		v, err = p.quoted()
	} else {
		v, err = p.bare(after, pattern)
	}
	switch {
	case err != nil:
		return v, err
	case len(string(v.text)) > MaxLabelValue:
		return v, p.invalid(v.start, fmt.Sprintf("value too long: must be at most %d bytes", MaxLabelValue))
	case len(v.text) == 0 && slices.Contains(attributes, t.key):
		return v, p.invalid(v.start, fmt.Sprintf("invalid value \"\": %q is never empty", t.key))
	}
	return v, nil
}

func (p *parser) bare(after string, pattern bool) (literal, error) {
	v := literal{start: p.at}
	for before := rune(0); !p.ended() && isBare(p.text[p.at], before, pattern); p.at++ {
		before = p.text[p.at]
		v.add(before, p.at)
	}
	if !pattern && !p.ended() && strings.ContainsRune("*?[]", p.text[p.at]) && (len(v.text) > 0 || p.text[p.at] != '[') {
		return v, p.invalid(p.at,
			fmt.Sprintf("%q in an exact value: use ~ for a pattern, or quotes for the character itself", p.text[p.at]))
	}
	if len(v.text) == 0 {
		return v, p.expected(p.at, fmt.Sprintf("a value after %q", after))
	}
	return v, nil
}

func (p *parser) quoted() (literal, error) {
	v := literal{start: p.at}
	for p.at++; !p.ended(); p.at++ {
		switch r := p.text[p.at]; {
		case r == '"':
			p.at++
			return v, nil
		case r == '\\':
			p.at++
			if p.ended() || !strings.ContainsRune(`"\`, p.text[p.at]) {
				return v, p.invalid(p.at-1, `unknown escape: write \\ for a backslash, \" for a quote`)
			}
			v.add(p.text[p.at], p.at)
		case !unicode.IsPrint(r):
			return v, p.invalid(p.at, "invalid character "+strconv.QuoteRune(r)+": must be printable")
		default:
			v.add(r, p.at)
		}
	}
	return v, p.invalid(v.start, "missing closing quote")
}
