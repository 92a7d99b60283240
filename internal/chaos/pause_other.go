//go:build !unix

package chaos

import "errors"

func pauseProcess(*process, bool) error {
	return errors.New("chaos: this system cannot stop processes")
}
