package client

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"
)

// tokenHeader carries Options.Token.
const tokenHeader = "authorization"

// TokenError says that Options.Token gave no token that can be sent, so that nobody was asked.
// Calls try again until their time is over, Watches and sessions without end. IsUnavailable is true
// of it.
type TokenError struct{ cause error }

// Error says what Options.Token said.
func (e *TokenError) Error() string {
	return fmt.Sprintf("client: Options.Token gave no token to send: %v", e.cause)
}

// Unwrap returns the error of Options.Token.
func (e *TokenError) Unwrap() error { return e.cause }

// isUnsent reports whether nobody was asked for want of a token.
func isUnsent(err error) bool {
	_, unsent := errors.AsType[*TokenError](err)
	return unsent
}

// bearer returns the value of the header that shows the client's token; "" if it has none. The
// error is a [*TokenError], which another attempt may change.
func (c *Client) bearer(ctx context.Context) (string, error) {
	if c.opts.Token == nil {
		return "", nil
	}
	token, err := c.opts.Token(ctx)
	if err == nil && strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		err = fmt.Errorf("one of %d bytes has spaces, line ends or what is not ASCII, which no header carries", len(token))
	}
	switch {
	case err != nil:
		return "", connect.NewError(connect.CodeUnavailable, &TokenError{err})
	case token == "":
		return "", nil
	}
	return "Bearer " + token, nil
}
