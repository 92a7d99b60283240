package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
)

const (
	privateBlock = "PRIVATE KEY"
	publicBlock  = "PUBLIC KEY"

	// MaxKeyBytes bounds a PEM file with a key, which takes a few hundred bytes.
	MaxKeyBytes = 16 << 10
	// KeyIDBytes is the length of a key's id.
	KeyIDBytes = 8
)

// GenerateKey returns a new private key, made of what random yields, which has to be
// unpredictable: crypto/rand.Reader.
func GenerateKey(random io.Reader) (ed25519.PrivateKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return nil, fmt.Errorf("cannot make an audit key: %w", err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// KeyID returns the id of a key: the first 8 bytes of the SHA-256 of the public key.
func KeyID(public ed25519.PublicKey) []byte {
	sum := sha256.Sum256(public)
	return sum[:KeyIDBytes]
}

// Public returns the public key of a private one.
func Public(private ed25519.PrivateKey) ed25519.PublicKey {
	return private.Public().(ed25519.PublicKey) // of that type by its contract
}

// EncodePrivateKey returns a private key as PEM. It is a secret.
func EncodePrivateKey(private ed25519.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("cannot encode a private audit key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: der}), nil
}

// EncodePublicKey returns a public key as PEM.
func EncodePublicKey(public ed25519.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("cannot encode a public audit key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: der}), nil
}

// ReadPrivateKey reads a private key from PEM: one PKCS #8 block with an Ed25519 key. Errors
// never show any of the key.
func ReadPrivateKey(text []byte) (ed25519.PrivateKey, error) {
	der, err := readBlock(text, privateBlock)
	if err != nil {
		return nil, fmt.Errorf("no private audit key: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("no private audit key: the %q block is not PKCS #8; make one with openssl genpkey -algorithm ed25519", privateBlock)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("no private audit key: it is a %T; it has to be an Ed25519 key", key)
	}
	return private, nil
}

// ReadPublicKey reads a public key from PEM: one PKIX block with an Ed25519 key.
func ReadPublicKey(text []byte) (ed25519.PublicKey, error) {
	der, err := readBlock(text, publicBlock)
	if err != nil {
		return nil, fmt.Errorf("no public audit key: %w", err)
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("no public audit key: the %q block is not PKIX: %w", publicBlock, err)
	}
	public, ok := key.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("no public audit key: it is a %T; it has to be an Ed25519 key", key)
	}
	return public, nil
}

// readBlock returns the content of the one PEM block that a text has to be.
func readBlock(text []byte, kind string) ([]byte, error) {
	if len(text) > MaxKeyBytes {
		return nil, fmt.Errorf("the file has %d bytes, but MaxKeyBytes is %d", len(text), MaxKeyBytes)
	}
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, fmt.Errorf("the file has no PEM block; it has to have one of type %q", kind)
	case block.Type == privateBlock && kind == publicBlock:
		return nil, fmt.Errorf("the file holds a private key where the public one belongs; make it with openssl pkey -pubout")
	case block.Type == publicBlock && kind == privateBlock:
		return nil, fmt.Errorf("the file holds a public key where the private one belongs")
	case block.Type == "ENCRYPTED "+privateBlock:
		return nil, fmt.Errorf("the key is protected by a password; take that off with openssl pkey")
	case block.Type != kind:
		return nil, fmt.Errorf("the PEM block is of type %.40q; it has to be %q", block.Type, kind)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, fmt.Errorf("the file has %d bytes behind the key; there has to be one key and nothing else", len(rest))
	}
	return block.Bytes, nil
}
