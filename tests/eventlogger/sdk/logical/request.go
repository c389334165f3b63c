// Package logical has what Vault hands to its audit broker (sdk/logical), as far as the tracer reads it
// or must not read it.
package logical

// Operation is what a client wants.
type Operation string

// What the methods mean.
const (
	ReadOperation   Operation = "read"
	UpdateOperation Operation = "update"
	DeleteOperation Operation = "delete"
	ListOperation   Operation = "list"
)

// Request is a client's. The tracer reads ID, Operation and Path, which Vault's own has under these
// names, and nothing of what lies beside them.
type Request struct {
	ID                 string
	ReplicationCluster string
	Operation          Operation
	Path               string
	Data               map[string]any
	Connection         *Connection
	ClientToken        string
}

// Connection is where a request comes from.
type Connection struct {
	RemoteAddr string
	RemotePort int
}

// Response is what the client gets.
type Response struct {
	Data map[string]any
}

// LogInput is what there is to be told of a request in one entry.
type LogInput struct {
	Type     string
	Request  *Request
	Response *Response
}
