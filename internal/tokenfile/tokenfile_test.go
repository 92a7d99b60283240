package tokenfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestToken(t *testing.T) {
	var f File
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.AddTo(flags)
	if f.Token() != nil || f.Check() != nil {
		t.Fatal("there is a token without a file")
	}
	path := filepath.Join(t.TempDir(), "token")
	if err := flags.Parse([]string{"--token-file", path}); err != nil {
		t.Fatal(err)
	}
	token := f.Token()
	expect := func(want, failure string) {
		t.Helper()
		got, err := token(t.Context())
		if wrong := f.Check(); (wrong != nil) != (err != nil) {
			t.Errorf("checked: %v; read: %v", wrong, err)
		}
		if got != want || (err != nil) != (failure != "") || err != nil && (!strings.Contains(err.Error(), failure) || !strings.Contains(err.Error(), "--token-file")) {
			t.Errorf("got %q, %v; want %q, an error with %q", got, err, want, failure)
		}
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expect("", path) // it is not there
	write("first\n")
	expect("first", "")
	write(" second \r\n")
	expect("second", "")
	write("\n")
	expect("", "is empty")
	write(strings.Repeat("x", MaxBytes))
	expect(strings.Repeat("x", MaxBytes), "")
	write(strings.Repeat("x", MaxBytes+1))
	expect("", "MaxBytes")
}
