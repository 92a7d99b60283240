// Package tokenfile reads the token that a command line names a file of.
package tokenfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// MaxBytes is how large a file may be: what is larger is no token, and no header carries it.
const MaxBytes = 16 << 10

// File is the path of a file with a token; empty: there is none.
type File string

// AddTo adds the flag that names the file.
func (f *File) AddTo(flags *pflag.FlagSet) {
	flags.StringVar((*string)(f), "token-file", "", "file of a token to show to a proxy before the members (Authorization: Bearer); read anew whenever it is needed; use it with TLS only")
}

// Token returns what client.Options.Token wants: a function that reads the file each time, so
// that another process can renew the token; nil if no file is named. It is safe for concurrent
// use.
func (f File) Token() func(context.Context) (string, error) {
	if f == "" {
		return nil
	}
	return func(context.Context) (string, error) { return f.read() }
}

// Check reports what is wrong with the file now: then a program need not begin.
func (f File) Check() error {
	if f == "" {
		return nil
	}
	_, err := f.read()
	return err
}

func (f File) read() (_ string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("--token-file: %w", err)
		}
	}()
	file, err := os.Open(string(f))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	text, err := io.ReadAll(io.LimitReader(file, MaxBytes+1))
	if err != nil {
		return "", err
	}
	if len(text) > MaxBytes {
		return "", fmt.Errorf("%s has more than %d bytes (MaxBytes): it is no token", f, MaxBytes)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", fmt.Errorf("%s is empty: write the token to it", f)
	}
	return token, nil
}
