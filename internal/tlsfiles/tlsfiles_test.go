package tlsfiles

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoad(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		files    Files
		endpoint string
		secure   bool
		err      string
	}{
		{Files{}, "h:1", false, ""},
		{Files{}, "http://h:1", false, ""},
		{Files{}, "https://h:1", true, ""},
		{Files{CA: "none"}, "h:1", false, "--tls-ca"},
		{Files{CA: text}, "h:1", false, "PEM"},
		{Files{Cert: text}, "h:1", false, "--tls-key"},
		{Files{Key: text}, "h:1", false, "--tls-cert"},
	} {
		config, err := c.files.Load([]string{c.endpoint})
		if (config != nil) != c.secure || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%+v at %s: %v, %v", c.files, c.endpoint, config, err)
		}
	}
}
