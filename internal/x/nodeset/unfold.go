package nodeset

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxName is the maximum length of a name, in bytes. With the limit on names it
// bounds the memory of [Unfold].
const maxName = 255

// Unfold returns the names of a set, sorted, each once. There may be blanks around
// items, and items may overlap. An empty set has no names. It is an error if the
// items stand for more than limit names, counting duplicates, or for one of more
// than 255 bytes.
func Unfold(set string, limit int) ([]string, error) {
	p := parser{set: set, limit: limit}
	if p.skipBlanks(); p.at == len(set) {
		return nil, nil
	}
	for {
		if err := p.item(); err != nil {
			return nil, fmt.Errorf("invalid set of names: byte %d: %w", p.at+1, err)
		}
		if p.skipBlanks(); p.at == len(set) {
			return unique(p.names), nil
		}
		if !p.take(',') {
			return nil, fmt.Errorf("invalid set of names: byte %d: unexpected %s: must be a comma", p.at+1, p.here())
		}
		p.skipBlanks()
	}
}

type parser struct {
	set   string
	at    int
	limit int
	names []string
}

func (p *parser) skipBlanks() { p.at = len(p.set) - len(strings.TrimLeft(p.set[p.at:], " \t\r\n")) }

// take passes over the byte c, and reports whether it is there.
func (p *parser) take(c byte) bool {
	if p.at == len(p.set) || p.set[p.at] != c {
		return false
	}
	p.at++
	return true
}

// run passes over the bytes that is reports true for, and returns them.
func (p *parser) run(is func(c byte) bool) string {
	start := p.at
	for p.at < len(p.set) && is(p.set[p.at]) {
		p.at++
	}
	return p.set[start:p.at]
}

// here returns what comes next, for messages.
func (p *parser) here() string {
	if p.at == len(p.set) {
		return "end"
	}
	r, _ := utf8.DecodeRuneInString(p.set[p.at:])
	return strconv.QuoteRune(r)
}

func (p *parser) errTooMany() error {
	return fmt.Errorf("too many names: must be at most %d", p.limit)
}

// item reads an item and adds its names.
func (p *parser) item() error {
	start, names, longest := p.at, []string{""}, 0
	for {
		alternatives, err := p.part()
		if err != nil {
			return err
		}
		if len(alternatives) == 0 {
			if p.at == start {
				return fmt.Errorf("unexpected %s: must be a name", p.here())
			}
			break
		}
		most := 0
		for _, a := range alternatives {
			most = max(most, len(a))
		}
		if longest += most; longest > maxName {
			return fmt.Errorf("name too long: must be at most %d bytes", maxName)
		}
		if len(alternatives) > (p.limit-len(p.names))/len(names) {
			return p.errTooMany()
		}
		names = product(names, alternatives)
	}
	p.names = append(p.names, names...)
	return nil
}

// product returns each start with each end.
func product(starts, ends []string) []string {
	all := make([]string, 0, len(starts)*len(ends))
	for _, start := range starts {
		for _, end := range ends {
			all = append(all, start+end)
		}
	}
	return all
}

// part returns what the next part of an item stands for, which is nothing at its
// end.
func (p *parser) part() ([]string, error) {
	if p.take('[') {
		return p.numbers()
	}
	if p.at < len(p.set) && p.set[p.at] == '"' {
		quoted, err := strconv.QuotedPrefix(p.set[p.at:])
		if err != nil {
			return nil, errors.New("invalid text in quotes")
		}
		p.at += len(quoted)
		text, err := strconv.Unquote(quoted)
		return []string{text}, err
	}
	if literal := p.run(isPlain); literal != "" {
		return []string{literal}, nil
	}
	return nil, nil
}

// numbers reads the ranges in brackets, after the opening one.
func (p *parser) numbers() ([]string, error) {
	var numbers []string
	for {
		first := p.run(isDigit)
		last := first
		if first != "" && p.take('-') {
			last = p.run(isDigit)
		}
		switch {
		case last == "":
			return nil, fmt.Errorf("unexpected %s: must be a number", p.here())
		case len(last) > maxName:
			return nil, fmt.Errorf("number too long: must be at most %d digits", maxName)
		case compare(first, last) > 0, len(first) < len(last) && last[0] == '0':
			return nil, fmt.Errorf("invalid range %s-%s: must count up, and have leading zeros in the first number as well", first, last)
		}
		for n := first; ; n = next(n) {
			if len(numbers) == p.limit {
				return nil, p.errTooMany()
			}
			numbers = append(numbers, n)
			if n == last {
				break
			}
		}
		if p.take(']') {
			return numbers, nil
		}
		if !p.take(',') {
			return nil, fmt.Errorf("unexpected %s: must be a comma or ]", p.here())
		}
	}
}
