//go:build !unix

package fleet

import "errors"

func (p *Process) freeze(bool) error {
	return errors.New("fleet: this system cannot stop processes and let them go on")
}
