package client

import (
	"context"

	"connectrpc.com/connect"
)

// actorHeader names the caller towards servers that do not know it by TLS.
const actorHeader = "helios-actor"

// clusterHeader says which cluster a call is for: a member of another one refuses it.
const clusterHeader = "helios-cluster"

// callInterceptor says in each unary call who calls, and which cluster is meant, once that is known,
// and shows the client's token.
type callInterceptor struct {
	client   *Client
	endpoint *endpoint
	isHTTP2  bool // else its calls go by HTTP/1.1
}

// WrapUnary implements connect.Interceptor.
func (a callInterceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if actor := a.client.opts.Actor; actor != "" {
			req.Header().Set(actorHeader, actor)
		}
		if cluster := a.client.meant(); cluster != "" {
			req.Header().Set(clusterHeader, cluster)
		}
		token, err := a.client.bearer(ctx)
		if err != nil {
			return nil, err
		}
		if token != "" {
			req.Header().Set(tokenHeader, token)
		}
		res, err := next(ctx, req)
		a.endpoint.noteTransport(ctx, a.isHTTP2, err)
		return res, err
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (a callInterceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next // there are none
}

// WrapStreamingHandler implements connect.Interceptor.
func (a callInterceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}
