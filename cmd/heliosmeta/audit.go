package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/history/audit"
)

const aboutKeygen = `Make a key for signed heads: FILE gets the private one, which only its owner can read,
FILE.pub the public one, with which auditors check. Neither file may exist.

  heliosmeta audit keygen --out audit.key
  heliosmeta serve --audit-key audit.key`

func (s *session) auditCommand() *cobra.Command {
	var out string
	keygen := &cobra.Command{
		Use: "keygen --out FILE", Short: "Make a key that signs the heads of streams", Long: aboutKeygen, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return s.auditKeygen(out) },
	}
	keygen.Flags().StringVar(&out, "out", "", "file for the private key; the public one goes to FILE.pub")
	return noun("audit", "Prepare for audits of the history", keygen)
}

// publicSuffix is behind the name of a private key's file for that of its public one.
const publicSuffix = ".pub"

// auditKeygen makes a key. The public file comes first: what is left behind where the second
// cannot be written is no secret.
func (s *session) auditKeygen(out string) error {
	if out == "" {
		return usage("--out is missing: name a file for the private key")
	}
	key, err := audit.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	private, err := audit.EncodePrivateKey(key)
	if err != nil {
		return err
	}
	public, err := audit.EncodePublicKey(audit.Public(key))
	if err != nil {
		return err
	}
	if _, err := os.Lstat(out); err == nil {
		return fmt.Errorf("--out: %s exists; keys are not overwritten, choose another name", out)
	}
	if err := writeNew(out+publicSuffix, public, 0o644); err != nil {
		return err
	}
	if err := writeNew(out, private, 0o600); err != nil {
		return errors.Join(err, os.Remove(out+publicSuffix))
	}
	id := audit.KeyID(audit.Public(key))
	s.say("private key %s, public key %s, key id %x", out, out+publicSuffix, id)
	return s.forPrograms(struct {
		Private string `json:"private_key"` // files
		Public  string `json:"public_key"`
		ID      string `json:"key_id"`
	}{out, out + publicSuffix, hex.EncodeToString(id)})
}

// writeNew writes a file that does not exist yet.
func writeNew(name string, text []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("--out: %w", err), os.Remove(name))
	}
	return nil
}

// loadAuditKey reads the key that signs heads; nil if none is given.
func (f *serveFlags) loadAuditKey() (ed25519.PrivateKey, error) {
	if f.auditKey == "" {
		return nil, nil
	}
	text, err := os.ReadFile(f.auditKey)
	if err != nil {
		return nil, fmt.Errorf("--audit-key: %w", err)
	}
	key, err := audit.ReadPrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("--audit-key %s: %w", f.auditKey, err)
	}
	return key, nil
}
