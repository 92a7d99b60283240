package server

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
)

// onlyHosts refuses requests that were meant for another name. A page in a browser on
// this machine can have its own name resolve to a loopback address (DNS rebinding)
// and then counts as the same origin; but its requests still carry that name.
// Loopback's own names and addresses are always right.
func onlyHosts(names []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := hostName(r.Host); !isLoopback(name) && !slices.ContainsFunc(names, func(allowed string) bool {
			return allowed == "*" || strings.EqualFold(hostName(allowed), name)
		}) {
			plain(w, http.StatusForbidden, fmt.Sprintf(
				"this port is for its own machine, and the request is for the host %.100q; use localhost, or allow the name where the service is configured (--allowed-hosts)\n", name))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostName is a host without its port and without an IPv6 address's brackets.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), ".")
}

// isLoopback is true for no name too: only what is no browser sends none.
func isLoopback(name string) bool {
	ip := net.ParseIP(name)
	return name == "" || strings.EqualFold(name, "localhost") || ip != nil && ip.IsLoopback()
}
