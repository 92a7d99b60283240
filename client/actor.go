package client

import (
	"context"

	"connectrpc.com/connect"
)

// actorHeader names the caller towards servers that do not know it by TLS.
const actorHeader = "helios-actor"

// actorInterceptor says in each unary call who calls.
type actorInterceptor string

// WrapUnary implements connect.Interceptor.
func (a actorInterceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if a != "" {
			req.Header().Set(actorHeader, string(a))
		}
		return next(ctx, req)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (a actorInterceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next // there are none
}

// WrapStreamingHandler implements connect.Interceptor.
func (a actorInterceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}
