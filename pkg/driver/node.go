package driver

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// firstNodeRetry and lastNodeRetry bound the pause between two attempts at asking for the Node.
const firstNodeRetry, lastNodeRetry = 500 * time.Millisecond, 30 * time.Second

// NodeUID returns the UID of the Node of that name, which becomes the owner of its slices.
//
// The service account token of a pod says on which node the pod runs, so that the right to read Nodes is not needed
// and the name can be checked without the API server. Without such a token the API server is asked, and asked again
// until ctx ends while it is in trouble; waiting is told why each time.
func NodeUID(
	ctx context.Context, client kubernetes.Interface, name string, token []byte, waiting func(error),
) (types.UID, error) {
	if node, ok := nodeOfToken(token); ok {
		if node.Name != name {
			return "", fmt.Errorf("node %q is not the one this pod runs on: its service account token is for node %q; "+
				"set --node-name (or NODE_NAME) from the pod's spec.nodeName", name, node.Name)
		}
		return node.UID, nil
	}
	for pause := firstNodeRetry; ; pause = min(2*pause, lastNodeRetry) {
		attempt, cancel := context.WithTimeout(ctx, fetchAttempt)
		node, err := client.CoreV1().Nodes().Get(attempt, name, metav1.GetOptions{})
		cancel()
		switch {
		case err == nil:
			return node.UID, nil
		case apierrors.IsNotFound(err):
			return "", fmt.Errorf("node %q is not in the cluster; --node-name must be the name in "+
				"\"kubectl get nodes\"", name)
		case ctx.Err() != nil:
			return "", ctx.Err()
		case !isTrouble(err):
			return "", fmt.Errorf("get node %q: %w", name, err)
		}
		waiting(err)
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
	}
}

type nodeReference struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid"`
}

// nodeOfToken reads the payload of a service account token without checking its signature: it is this process' own
// token, and the API server checks it with each request. False if the token does not say on which node its pod runs.
func nodeOfToken(token []byte) (nodeReference, bool) {
	parts := strings.Split(strings.TrimSpace(string(token)), ".")
	if len(parts) != 3 {
		return nodeReference{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nodeReference{}, false
	}
	var claims struct {
		Kubernetes struct {
			Node nodeReference `json:"node"`
		} `json:"kubernetes.io"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return nodeReference{}, false
	}
	node := claims.Kubernetes.Node
	return node, node.Name != "" && node.UID != ""
}
