//go:build !linux

package chaos

import "errors"

func shutDown(string) error { return errors.New("chaos: only Linux can shut a file system down") }
