package hostile

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/server"
)

// ending is how a call ended, in any protocol.
type ending struct {
	code    codes.Code
	message string
	reason  string // of the ErrorInfo
}

// verdict says what is wrong with the end of a call; empty: nothing. A healthy
// member never says that it is at fault, whatever it was sent.
func (e ending) verdict() string {
	switch e.code {
	case codes.OK:
		return ""
	case codes.Internal, codes.Unknown, codes.DataLoss, codes.Unavailable, codes.Unauthenticated:
		return fmt.Sprintf("the service blames itself: %v: %s", e.code, e.message)
	case codes.Unimplemented: // said by Connect, before a call has begun
		return ""
	}
	if e.reason == "" {
		return fmt.Sprintf("%v without a reason: %s", e.code, e.message)
	}
	return ""
}

var errCut = errors.New("the call was cut off by the client")

// read reads an answer and checks that it is one of its protocol. It returns
// errCut if the client's time was over first.
func (p protocol) read(r *http.Response, m method) (ending, error) {
	body, cut := io.ReadAll(r.Body)
	switch p.family {
	case connectUnary, connectGet:
		if cut != nil {
			return ending{}, errCut
		}
		return p.readUnary(r, m, body)
	case connectStream:
		return p.readEnvelopes(r, m, body, cut != nil, 2, endOfConnectStream)
	case grpcWeb:
		if len(body) == 0 && r.Header.Get("Grpc-Status") != "" {
			return endOfGRPC(r.Header)
		}
		return p.readEnvelopes(r, m, body, cut != nil, 0x80, endOfGRPCWeb)
	}
	if len(body) == 0 && r.Header.Get("Grpc-Status") != "" {
		return endOfGRPC(r.Header)
	}
	end, err := p.readEnvelopes(r, m, body, true, 0x80, nil)
	if cut == nil && errors.Is(err, errCut) {
		return endOfGRPC(r.Trailer)
	}
	return end, err
}

func (p protocol) readUnary(r *http.Response, m method, body []byte) (end ending, err error) {
	if r.Header.Get("Content-Encoding") == "gzip" {
		if body, err = unzip(body); err != nil {
			return end, fmt.Errorf("the answer is no gzip: %w", err)
		}
	}
	if r.StatusCode == http.StatusOK {
		return end, p.decodes(m, body)
	}
	if !sameMedia(r.Header.Get("Content-Type"), "application/json") {
		return end, fmt.Errorf("an error as %q: %d %.100q", r.Header.Get("Content-Type"), r.StatusCode, body)
	}
	return parseConnectError(body)
}

// readEnvelopes reads messages up to the one with a flag that says how it ended.
func (p protocol) readEnvelopes(r *http.Response, m method, body []byte, cut bool, last byte, parse func([]byte) (ending, error)) (end ending, err error) {
	if r.StatusCode != http.StatusOK || !sameMedia(r.Header.Get("Content-Type"), p.type_) {
		return end, fmt.Errorf("status %d, content type %q: %.100q", r.StatusCode, r.Header.Get("Content-Type"), body)
	}
	for len(body) > 0 {
		if len(body) < 5 || uint64(len(body)-5) < uint64(binary.BigEndian.Uint32(body[1:])) {
			if cut {
				return end, errCut
			}
			return end, fmt.Errorf("%d bytes of an envelope that is cut short", len(body))
		}
		flags, n := body[0], binary.BigEndian.Uint32(body[1:])
		content := body[5 : 5+n]
		body = body[5+n:]
		if flags&1 != 0 {
			if content, err = unzip(content); err != nil {
				return end, fmt.Errorf("a message is no gzip: %w", err)
			}
		}
		if flags&last != 0 && parse != nil {
			if len(body) > 0 {
				return end, fmt.Errorf("%d bytes behind the end", len(body))
			}
			return parse(content)
		}
		if flags&^1 != 0 {
			return end, fmt.Errorf("a message with flags %x", flags)
		}
		if err := p.decodes(m, content); err != nil {
			return end, fmt.Errorf("a message that is none: %w", err)
		}
	}
	if cut {
		return end, errCut
	}
	return end, errors.New("the answer does not say how the call ended")
}

func parseConnectError(body []byte) (ending, error) {
	var e struct {
		Code    string
		Message string
		Details []struct{ Type, Value string }
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return ending{}, fmt.Errorf("an error that is no JSON: %w: %.200q", err, body)
	}
	end := ending{message: e.Message}
	if err := end.code.UnmarshalJSON([]byte(`"` + strings.ToUpper(e.Code) + `"`)); err != nil && e.Code != "canceled" {
		return end, fmt.Errorf("code %q: %w", e.Code, err)
	}
	for _, d := range e.Details {
		raw, err := base64.RawStdEncoding.DecodeString(d.Value)
		if err != nil {
			return end, fmt.Errorf("a detail %s: %w", d.Type, err)
		}
		end.note("type.googleapis.com/"+d.Type, raw)
	}
	return end, nil
}

func (e *ending) note(typeURL string, raw []byte) {
	var info errdetails.ErrorInfo
	if strings.HasSuffix(typeURL, "/google.rpc.ErrorInfo") && proto.Unmarshal(raw, &info) == nil && info.GetDomain() == server.ErrorDomain {
		e.reason = info.GetReason()
	}
}

func endOfConnectStream(content []byte) (ending, error) {
	var e struct{ Error json.RawMessage }
	if err := json.Unmarshal(content, &e); err != nil {
		return ending{}, fmt.Errorf("the end of the stream is no JSON: %w", err)
	}
	if len(e.Error) == 0 {
		return ending{}, nil
	}
	return parseConnectError(e.Error)
}

func endOfGRPCWeb(content []byte) (ending, error) {
	trailer := make(http.Header)
	for line := range strings.SplitSeq(strings.TrimSpace(string(content)), "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return ending{}, fmt.Errorf("a trailer %q", line)
		}
		trailer.Add(textproto.CanonicalMIMEHeaderKey(name), strings.TrimSpace(value))
	}
	return endOfGRPC(trailer)
}

func endOfGRPC(trailer http.Header) (end ending, err error) {
	code := slices.Index(grpcCodes, trailer.Get("Grpc-Status"))
	if code < 0 {
		return end, fmt.Errorf("grpc-status is %q", trailer.Get("Grpc-Status"))
	}
	end.code, end.message = codes.Code(code), trailer.Get("Grpc-Message")
	text := strings.TrimRight(trailer.Get("Grpc-Status-Details-Bin"), "=")
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return end, fmt.Errorf("details: %w", err)
	}
	var status statuspb.Status
	if err := proto.Unmarshal(raw, &status); err != nil {
		return end, fmt.Errorf("details: %w", err)
	}
	if text != "" && codes.Code(status.GetCode()) != end.code {
		return end, fmt.Errorf("the status is %v, its details say %v", end.code, codes.Code(status.GetCode()))
	}
	for _, d := range status.GetDetails() {
		end.note(d.GetTypeUrl(), d.GetValue())
	}
	return end, nil
}

// grpcCodes are the codes as they are on the wire, by number.
var grpcCodes = func() (all []string) {
	for c := range codes.Unauthenticated + 1 {
		all = append(all, fmt.Sprint(uint32(c)))
	}
	return all
}()
