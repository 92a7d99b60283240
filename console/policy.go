package console

import (
	"bytes"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// policy keeps the page from running, loading and calling anything but its own, and from
// calling any but those other origins.
func policy(callable []string) string {
	return "default-src 'none'; script-src 'self'; style-src 'self'; " +
		"connect-src " + strings.Join(append([]string{"'self'"}, callable...), " ") + "; img-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// hostText is what names and IPv4 addresses of hosts consist of. An origin goes into a header
// and into the page, and what another member says of itself must not become anything else there.
var hostText = regexp.MustCompile(`^[A-Za-z0-9.-]{1,253}$`)

// Origins returns the origins of pages that come from these addresses, which are HOST:PORT. What
// is none is left out, and so are IPv6 addresses, which policies cannot name.
func Origins(scheme string, addresses []string) []string {
	defaultPort := map[string]string{"http": "80", "https": "443"}[scheme]
	var origins []string
	for _, address := range addresses {
		host, port, err := net.SplitHostPort(address)
		if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || n == 0 || !hostText.MatchString(host) {
			continue
		}
		if port != defaultPort {
			host += ":" + port
		}
		origins = append(origins, scheme+"://"+strings.ToLower(host))
	}
	return origins
}

// callable returns whom the page may call beside the member that it comes from: the other
// members, if it comes from an origin that is a member's itself. Behind a proxy, or under
// another name, the others need not be what they seem to be from here, and are left out.
func callable(members []string, host string) []string {
	isOwn := func(origin string) bool {
		_, its, _ := strings.Cut(origin, "://")
		return strings.EqualFold(its, host)
	}
	if !slices.ContainsFunc(members, isOwn) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(members), isOwn)
}

// membersMark is where the page is told whom it may call.
const membersMark = `<meta name="members" content="`

// page is the page before it is told that.
type page struct{ before, after []byte }

func newPage(content []byte) (page, error) {
	before, after, found := bytes.Cut(content, []byte(membersMark))
	if !found {
		return page{}, fmt.Errorf("console: %s has no place for the members (%s...); build it with `make console`", indexName, membersMark)
	}
	return page{append(before[:len(before):len(before)], membersMark...), after}, nil
}

// told is the page for one that may call these.
func (p page) told(callable []string) *file {
	return newFile(indexName, slices.Concat(p.before, []byte(strings.Join(callable, " ")), p.after))
}
