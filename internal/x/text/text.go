// Package text prepares text of unknown origin for people: it makes control
// characters visible, and shortens without cutting a character in half.
package text

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Visible returns s with everything that could steer a terminal, or pass
// unseen, in the form of an escape: control and format characters as \u001b,
// line ends and tabs as \n and \t, bytes that are not UTF-8 as \xff. Text that
// can be printed, and the plain space, stay as they are.
//
// A backslash stays as it is, too: the result is for reading, and cannot be
// turned back into s.
func Visible(s string) string { return escape(s, false) }

// VisibleLines is [Visible] for text of several lines: it keeps line feeds and
// tabs.
func VisibleLines(s string) string { return escape(s, true) }

func escape(s string, lines bool) string {
	at := strings.IndexFunc(s, func(r rune) bool { return !shown(r, lines) })
	if at < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	b.WriteString(s[:at])
	for at < len(s) {
		r, size := utf8.DecodeRuneInString(s[at:])
		switch {
		case shown(r, lines):
			b.WriteString(s[at : at+size])
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[at])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		default:
			writeEscape(&b, r)
		}
		at += size
	}
	return b.String()
}

// shown reports whether a character is printed as it is. The replacement
// character is not: it stands for bytes that were lost, or are no text.
func shown(r rune, lines bool) bool {
	return unicode.IsPrint(r) && r != utf8.RuneError || lines && (r == '\n' || r == '\t')
}

func writeEscape(b *strings.Builder, r rune) {
	if r > 0xffff {
		fmt.Fprintf(b, `\U%08x`, r)
		return
	}
	fmt.Fprintf(b, `\u%04x`, r)
}

// VisibleJSON returns a JSON text in which the characters that [Visible]
// escapes are JSON escapes: it has the same value. Encoders escape only those
// below the space, which leaves for example U+009B, a terminal's control
// sequence introducer. The line feeds and tabs between values stay.
func VisibleJSON(encoded []byte) []byte {
	s := string(encoded)
	at := strings.IndexFunc(s, func(r rune) bool { return !shown(r, true) })
	if at < 0 {
		return encoded
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for _, r := range s {
		switch {
		case shown(r, true):
			b.WriteRune(r)
		case r == '\r': // between two values; in a string it is escaped
			b.WriteByte('\n')
		case r > 0xffff:
			high, low := (r-0x10000)>>10, (r-0x10000)&0x3ff
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+high, 0xdc00+low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return []byte(b.String())
}

// Lines returns a writer for text that people read: what is written to it goes
// to w as [VisibleLines] has it. Each call of Write must end between two
// characters.
func Lines(w io.Writer) io.Writer {
	return writer{w, func(p []byte) []byte { return []byte(VisibleLines(string(p))) }}
}

// JSON returns a writer for JSON texts: what is written to it goes to w as
// [VisibleJSON] has it. Each call of Write must end between two characters.
func JSON(w io.Writer) io.Writer { return writer{w, VisibleJSON} }

type writer struct {
	to      io.Writer
	visible func([]byte) []byte
}

func (w writer) Write(p []byte) (int, error) {
	if _, err := w.to.Write(w.visible(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Some joins the first names with commas, up to most, and counts the others.
func Some(names []string, most int) string {
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

// Shorten returns s, or its first characters and "..." where s has more than
// limit bytes: of these, at most limit. It cuts no character in half.
func Shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return Cut(s, limit) + "..."
}

// Cut returns the longest beginning of s that has at most limit bytes and ends
// between two characters.
func Cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for back := 0; back < utf8.UTFMax && back <= limit; back++ {
		if utf8.RuneStart(s[limit-back]) {
			return s[:limit-back]
		}
	}
	return s[:limit] // no UTF-8
}

// CutValid returns at most limit bytes of s, as valid UTF-8.
func CutValid(s string, limit int) string {
	return Cut(strings.ToValidUTF8(s, string(utf8.RuneError)), limit)
}

// WholeRunes returns b without a character that is cut off at its end.
func WholeRunes(b []byte) []byte {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if last := b[len(b)-i:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}
