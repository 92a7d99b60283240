// Package hostile holds tests that are clients and members nobody would want: of
// both ports of a real member, in all protocols, with bytes, sizes and connections
// that no honest client brings. It has no code of its own.
package hostile
