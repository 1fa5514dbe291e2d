/** The flow that the mock begins with. */
export const demo = {
  schema: 1, language: "es", start: "greet", triggers: { keywords: ["hola", "info", "precio"], match: "word" }, settings: { expire_minutes: 1440 },
  variables: [{ name: "campaign", default: "" }],
  nodes: [
    { id: "greet", type: "send_text", position: { x: 0, y: 120 }, text: "¡Hola {{ contact.name }}! 👋 Soy el asistente de *Café Andino*.", exits: { next: "interest" } },
    {
      id: "interest", type: "ask", kind: "choice", position: { x: 360, y: 80 }, text: "¿Qué te interesa?", variable: "interest", retries: 2, retry_text: "Elige una opción, por favor.",
      choices: [{ id: "catalogue", label: "Catálogo", keywords: ["1"] }, { id: "prices", label: "Precios", keywords: ["2"] }, { id: "advisor", label: "Hablar con un asesor", keywords: ["3"] }],
      exits: { "choice:catalogue": "name", "choice:prices": "name", "choice:advisor": "human", next: null, failed: "human" },
    },
    { id: "name", type: "ask", kind: "text", position: { x: 720, y: 0 }, text: "¿Cómo te llamas?", variable: "name", retries: 2, exits: { next: "email", failed: null } },
    { id: "email", type: "ask", kind: "email", position: { x: 1080, y: 0 }, text: "¿A qué correo te lo envío, {{ vars.name }}?", variable: "email", retries: 2, retry_text: "Eso no parece un correo.", timeout_minutes: 60, exits: { next: "lead", failed: "human", timeout: "bye" } },
    { id: "lead", type: "capture_lead", position: { x: 1440, y: 0 }, fields: { name: "{{ vars.name }}", email: "{{ vars.email }}", phone: "{{ contact.phone }}", interest: "{{ vars.interest }}" }, exits: { next: "mail" } },
    { id: "mail", type: "request_email", position: { x: 1800, y: 0 }, template: "welcome", to: "{{ vars.email }}", variables: { name: "{{ vars.name }}" }, exits: { next: "thanks" } },
    { id: "thanks", type: "send_text", position: { x: 2160, y: 0 }, text: "¡Gracias! Te llegará en un minuto.", exits: { next: "bye" } },
    { id: "human", type: "hand_over", position: { x: 720, y: 420 }, note: "Quiere hablar con alguien sobre {{ vars.interest }}", exits: {} },
    { id: "bye", type: "end", position: { x: 2520, y: 60 }, exits: {} },
  ],
};
