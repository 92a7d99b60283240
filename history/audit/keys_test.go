package audit_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/heliosdb/metadata/history/audit"
)

func TestKeys(t *testing.T) {
	private := key(t, 3)
	secret, err := audit.EncodePrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	open, err := audit.EncodePublicKey(audit.Public(private))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := audit.ReadPrivateKey(secret); err != nil || !got.Equal(private) {
		t.Errorf("the private key is read as another one: %v", err)
	}
	if got, err := audit.ReadPublicKey(open); err != nil || !got.Equal(audit.Public(private)) {
		t.Errorf("the public key is read as another one: %v", err)
	}
	if a, b := key(t, 3), key(t, 4); !a.Equal(private) || b.Equal(private) {
		t.Error("a key is not what its randomness makes")
	}
	if _, err := audit.GenerateKey(io.LimitReader(rand.Reader, 31)); err == nil {
		t.Error("a key was made of 31 bytes")
	}
}

// TestKeysOfOpenssl reads what the commands in the package's comment made.
func TestKeysOfOpenssl(t *testing.T) {
	private, err := audit.ReadPrivateKey(file(t, "openssl.key"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := audit.ReadPublicKey(file(t, "openssl.pub"))
	if err != nil || !public.Equal(audit.Public(private)) {
		t.Fatalf("the two keys do not belong together: %v", err)
	}
	if id := hex.EncodeToString(audit.KeyID(public)); id != "ebcf5b30a66cb8b7" {
		t.Errorf("its id is %s", id)
	}
}

func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWrongKeys(t *testing.T) {
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecPrivate, _ := x509.MarshalPKCS8PrivateKey(curve)
	ecPublic, _ := x509.MarshalPKIXPublicKey(&curve.PublicKey)
	secret, open := file(t, "openssl.key"), file(t, "openssl.pub")
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	readPrivate := func(b []byte) error { _, err := audit.ReadPrivateKey(b); return err }
	readPublic := func(b []byte) error { _, err := audit.ReadPublicKey(b); return err }
	for _, test := range []struct {
		name string
		read func([]byte) error
		text []byte
		says string
	}{
		{"nothing", readPrivate, nil, "no PEM block"},
		{"text", readPublic, []byte("a key"), "no PEM block"},
		{"a public key", readPrivate, open, "a public key where the private one belongs"},
		{"a private key", readPublic, secret, "a private key where the public one belongs"},
		{"another kind of private key", readPrivate, block("PRIVATE KEY", ecPrivate), "has to be an Ed25519 key"},
		{"another kind of public key", readPublic, block("PUBLIC KEY", ecPublic), "has to be an Ed25519 key"},
		{"an old private key", readPrivate, block("RSA PRIVATE KEY", nil), `of type "RSA PRIVATE KEY"`},
		{"a certificate", readPublic, block("CERTIFICATE", nil), `of type "CERTIFICATE"`},
		{"a protected key", readPrivate, block("ENCRYPTED PRIVATE KEY", nil), "protected by a password"},
		{"no PKCS #8", readPrivate, block("PRIVATE KEY", []byte("x")), "not PKCS #8"},
		{"no PKIX", readPublic, block("PUBLIC KEY", []byte("x")), "not PKIX"},
		{"two keys", readPrivate, append(bytes.Clone(secret), secret...), "one key and nothing else"},
		{"a large file", readPublic, make([]byte, audit.MaxKeyBytes+1), "MaxKeyBytes"},
	} {
		if err := test.read(test.text); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want what mentions %q", test.name, err, test.says)
		}
	}
}

// FuzzReadPrivateKey takes any bytes for a private key. What is read is written alike.
func FuzzReadPrivateKey(f *testing.F) {
	f.Add(file(f, "openssl.key"))
	f.Add(file(f, "openssl.pub"))
	f.Fuzz(func(t *testing.T, text []byte) {
		private, err := audit.ReadPrivateKey(text)
		if err != nil {
			return
		}
		again, err := audit.EncodePrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := audit.ReadPrivateKey(again); err != nil || !same.Equal(private) {
			t.Fatalf("read again as another one: %v", err)
		}
	})
}

// FuzzReadPublicKey takes any bytes for a public key. What is read is written alike.
func FuzzReadPublicKey(f *testing.F) {
	f.Add(file(f, "openssl.pub"))
	f.Add(file(f, "openssl.key"))
	f.Fuzz(func(t *testing.T, text []byte) {
		public, err := audit.ReadPublicKey(text)
		if err != nil {
			return
		}
		again, err := audit.EncodePublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := audit.ReadPublicKey(again); err != nil || !same.Equal(public) {
			t.Fatalf("read again as another one: %v", err)
		}
	})
}
