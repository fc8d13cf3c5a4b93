package proc

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// TestLines: the lines do not depend on how the text is split, and no part of a long one
// is longer than the limit.
func TestLines(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("ab€\r\n")), 0, 200, -1).Draw(t, "text")
		limit := rapid.IntRange(8, 40).Draw(t, "limit")
		var got []string
		var whole strings.Builder // lines, with long ones joined
		l := &Lines{Limit: limit, Each: func(line []byte) {
			got = append(got, string(line))
			whole.Write(line)
		}}
		for rest := []byte(text); len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			if m, err := l.Write(rest[:n]); m != n || err != nil {
				t.Fatalf("wrote %d of %d: %v", m, n, err)
			}
			rest = rest[n:]
		}
		l.Flush()
		for _, line := range got {
			if len(line) > limit || !utf8.ValidString(line) || strings.Contains(line, "\n") {
				t.Fatalf("invalid line %q, the limit is %d", line, limit)
			}
		}
		if want := strings.ReplaceAll(strings.ReplaceAll(text, "\n", ""), "\r", ""); strings.ReplaceAll(whole.String(), "\r", "") != want {
			t.Fatalf("%q became %q", text, got)
		}
		want := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if text == "" {
			want = nil
		}
		if slices.ContainsFunc(want, func(line string) bool { return len(line) > limit }) {
			return
		}
		for i, line := range want {
			want[i] = strings.TrimSuffix(line, "\r")
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q became %q, want %q", text, got, want)
		}
	})
}

func TestLongLinesAreDropped(t *testing.T) {
	t.Parallel()
	var got []string
	var sizes []int64
	l := &Lines{
		Limit: 8, Each: func(line []byte) { got = append(got, string(line)) },
		TooLong: func(size int64) { sizes = append(sizes, size) },
	}
	for _, piece := range []string{"12345678\n1234", "56789", "abc\nshort\n", strings.Repeat("x", 100), "\n", "123456789"} {
		_, _ = l.Write([]byte(piece))
	}
	l.Flush()
	l.Flush() // nothing is left
	if !slices.Equal(got, []string{"12345678", "short"}) || !slices.Equal(sizes, []int64{12, 100, 9}) {
		t.Errorf("got %q, %v", got, sizes)
	}
}

func TestHeadAndTail(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOfN(rapid.SliceOfN(rapid.ByteRange('a', 'z'), 0, 30), 0, 20).Draw(t, "pieces")
		limit := rapid.IntRange(1, 40).Draw(t, "limit")
		head, tail := &Head{Limit: limit}, &Tail{Limit: limit}
		for _, piece := range pieces {
			_, _ = head.Write(piece)
			_, _ = tail.Write(piece)
			if len(tail.buf) > 2*limit {
				t.Fatalf("the tail has %d bytes", len(tail.buf))
			}
		}
		all := bytes.Join(pieces, nil)
		n := min(limit, len(all))
		if !bytes.Equal(head.Kept, all[:n]) || head.Size != int64(len(all)) || head.Truncated() != (len(all) > limit) {
			t.Fatalf("the head of %q is %q", all, head.Kept)
		}
		if tail.Text() != string(all[len(all)-n:]) || tail.Size != int64(len(all)) {
			t.Fatalf("the tail of %q is %q", all, tail.Text())
		}
	})
	tail := &Tail{Limit: 5}
	_, _ = tail.Write([]byte("a€€\xff \n"))
	if got := tail.Text(); got != "\uFFFD" { // not a part of a character
		t.Errorf("got %q", got)
	}
}
