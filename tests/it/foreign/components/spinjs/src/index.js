// Keeps the body of a request under its path, with the key-value of Spin's SDK for JavaScript.
import { Kv, ResponseBuilder } from '@fermyon/spin-sdk';

const decoder = new TextDecoder();

async function answer(request, response) {
    const store = Kv.openDefault();
    const key = new URL(request.url).pathname;
    switch (request.method) {
        case 'POST':
            store.set(key, await request.text());
            response.send();
            break;
        case 'GET': {
            const value = store.get(key);
            if (value) {
                response.send(decoder.decode(value));
            } else {
                response.status(404).send('Not Found');
            }
            break;
        }
        case 'DELETE':
            store.delete(key);
            response.send();
            break;
        case 'HEAD':
            response.status(store.exists(key) ? 200 : 404).send();
            break;
        default:
            response.status(405).send();
    }
}

addEventListener('fetch', (event) => {
    event.respondWith(
        new Promise((resolve, reject) => answer(event.request, new ResponseBuilder(resolve)).catch(reject)),
    );
});
