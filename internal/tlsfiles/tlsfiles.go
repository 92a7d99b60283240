// Package tlsfiles makes of the files that a command line names what secures a client's
// connections to the service. It reads files and nothing else.
package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// Files name what secures a connection.
type Files struct {
	CA   string // authorities that vouch for the service
	Cert string // the client's certificate
	Key  string // and its key
}

// AddTo adds the flags that name the files.
func (f *Files) AddTo(flags *pflag.FlagSet) {
	flags.StringVar(&f.CA, "tls-ca", "", "file of the authorities that vouch for the service; makes connections TLS")
	flags.StringVar(&f.Cert, "tls-cert", "", "file of this client's certificate")
	flags.StringVar(&f.Key, "tls-key", "", "file of this client's key")
}

// Load reads the files; no files and no https endpoint mean plain text, which is nil.
func (f Files) Load(endpoints []string) (*tls.Config, error) {
	secure := f != Files{}
	for _, endpoint := range endpoints {
		secure = secure || strings.HasPrefix(endpoint, "https://")
	}
	if !secure {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.CA != "" {
		text, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--tls-ca: %s has no certificate in PEM form", f.CA)
		}
	}
	if f.Cert == "" && f.Key == "" {
		return config, nil
	}
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert %q with --tls-key %q: %w", f.Cert, f.Key, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}
