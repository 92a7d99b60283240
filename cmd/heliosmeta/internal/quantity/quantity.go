// Package quantity has flags for quantities as people write them: how long something is kept,
// such as 30d, and how many bytes it may take, such as 10GiB. What a flag shows can be given
// to it again. It is pure.
package quantity

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/moment"
)

const day = 24 * time.Hour

// Age is a length of time as a flag.
type Age time.Duration

// Set reads a length of time, such as 30d, 1w or 12h30m.
func (a *Age) Set(text string) error {
	d, ok := moment.Duration(text)
	if text != "0" && !ok {
		return fmt.Errorf("write how long, such as 30d or 12h, at most %s; 0 for ever", Age(moment.MaxDuration))
	}
	*a = Age(d)
	return nil
}

// String returns the length in days, if it is of whole days.
func (a Age) String() string {
	switch d := time.Duration(a); {
	case d == 0:
		return "0"
	case d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	default:
		return d.String()
	}
}

// Type names the values in help.
func (a *Age) Type() string { return "duration" }

// Bytes is a number of bytes as a flag.
type Bytes uint64

// units are those of bytes, each 1,024 times the one before.
var units = []string{"KiB", "MiB", "GiB", "TiB", "PiB"}

// Set reads a whole number of bytes, or of a unit of them.
func (b *Bytes) Set(text string) error {
	number, factor := text, uint64(1)
	for i, unit := range units {
		if rest, has := strings.CutSuffix(text, unit); has {
			number, factor = rest, 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n > math.MaxUint64/factor {
		return fmt.Errorf("write bytes, such as 1000000, 512MiB or 10GiB; units are %s", strings.Join(units, ", "))
	}
	*b = Bytes(n * factor)
	return nil
}

// String returns the number in the largest unit that it is a whole number of.
func (b Bytes) String() string {
	for i := len(units); i > 0 && b > 0; i-- {
		if factor := Bytes(1) << (10 * i); b%factor == 0 {
			return strconv.FormatUint(uint64(b/factor), 10) + units[i-1]
		}
	}
	return strconv.FormatUint(uint64(b), 10)
}

// Type names the values in help.
func (b *Bytes) Type() string { return "bytes" }
