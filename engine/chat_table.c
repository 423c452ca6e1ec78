/* The known chat templates. before, after and trim say what the Jinja text makes of a conversation
 * that is one user message, with add_generation_prompt: default system texts are in it, and so are
 * BOS tokens. tests/golden/make_templates.py renders the texts themselves. */
#include "engine/chat.h"

#define IM_SYSTEM(text) "<|im_start|>system\n" text "<|im_end|>\n"
#define IM_USER "<|im_start|>user\n"
#define IM_ANSWER "<|im_end|>\n<|im_start|>assistant\n"
#define HEADER(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"
#define BAR "\xef\xbd\x9c"   /* U+FF5C */
#define BLANK "\xe2\x96\x81" /* U+2581 */
#define DEEPSEEK_USER "<" BAR "begin" BLANK "of" BLANK "sentence" BAR "><" BAR "User" BAR ">"
#define DEEPSEEK_ANSWER "<" BAR "Assistant" BAR ">"

/* Hashes are SHA-256 of the text, as tokenizer_config.json, chat_template.jinja or a GGUF file has
 * it. The two of qwen2.5-math are of Qwen2.5's texts with its system text. */
const struct chat_template chat_table[] = {
    {
        .name = "qwen2",
        .summary = "Qwen2",
        .before = IM_SYSTEM("You are a helpful assistant.") IM_USER,
        .after = IM_ANSWER,
        .sha256 = {"793202280c0910ab26bc6eb57c8212c2417324c6d8c4efd0d10d59092ab3e3eb"},
    },
    {
        .name = "qwen2.5",
        .summary = "Qwen2.5, Qwen2.5-Coder",
        .before = IM_SYSTEM("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.")
            IM_USER,
        .after = IM_ANSWER,
        .sha256 = {"cd8e9439f0570856fd70470bf8889ebd8b5d1107207f67a5efb46e342330527f",
                   "d5495a1e5db0611132a97e46a65dbb64a642a499421228b9c8b93229097fa9a4"},
    },
    {
        .name = "qwen2.5-math",
        .summary = "Qwen2.5-Math",
        .before = IM_SYSTEM("Please reason step by step, and put your final answer within "
                            "\\boxed{}.") IM_USER,
        .after = IM_ANSWER,
        .sha256 = {"c564d12c9977b8942423753b0c409a11f50142508ced170e9fe1c2f5b803cf70",
                   "4302efe46d5ecfe07d7100e6b0c34edbc4eea99da94b0a07c6114ff9bc393d03"},
    },
    {
        .name = "qwen3",
        .summary = "Qwen3, which thinks",
        .before = IM_USER,
        .after = IM_ANSWER,
        .sha256 = {"87a2728cb8dc9fe424d624542f6060ec05a1d285ebbec578bb078900e33396b5"},
    },
    {
        .name = "qwen3-no-think",
        .summary = "Qwen3 with enable_thinking off",
        .before = IM_USER,
        .after = IM_ANSWER "<think>\n\n</think>\n\n",
    },
    {
        .name = "llama2",
        .summary = "Llama 2 chat",
        .before = "<s>[INST] ",
        .after = " [/INST]",
        .trim = true,
        .sha256 = {"be7f8f15473ed3f98fd513d422daef97d1b101e6d3aeac3904e3a15f7807c07b",
                   "e8d5b5a546d3f19df16a5320c614fab05bdc4edd50e850f1afd947b503ea41cf"},
    },
    {
        .name = "llama3",
        .summary = "Llama 3",
        .before = "<|begin_of_text|>" HEADER("user"),
        .after = "<|eot_id|>" HEADER("assistant"),
        .trim = true,
        .sha256 = {"ba03a121d097859c7b5b9cd03af99aafe95275210d2876f642ad9929a150f122"},
    },
    {
        /* a date of today would make every day's results others: this is the one that the texts
         * have where no clock is at hand */
        .name = "llama3.1",
        .summary = "Llama 3.1, 3.2, 3.3; the date is always 26 Jul 2024",
        .before = "<|begin_of_text|>" HEADER(
            "system") "Cutting Knowledge Date: December 2023\n"
                      "Today Date: 26 Jul 2024\n\n<|eot_id|>" HEADER("user"),
        .after = "<|eot_id|>" HEADER("assistant"),
        .trim = true,
        .sha256 = {"e10ca381b1ccc5cf9db52e371f3b6651576caee0a630b452e2816b2d404d4b65",
                   "5816fce10444e03c2e9ee1ef8a4a1ea61ae7e69e438613f3b17b69d0426223a4"},
    },
    {
        .name = "mistral",
        .summary = "Mistral 7B v0.1, Mixtral 8x7B",
        .before = "<s>[INST] ",
        .after = " [/INST]",
        .sha256 = {"7e995b379ec01747807246483647cd99030abf331653f1119e16d7ac041a3495",
                   "26a59556925c987317ce5291811ba3b7f32ec4c647c400c6cc7e3a9993007ba7"},
    },
    {
        .name = "mistral-spaced",
        .summary = "Mistral 7B v0.3 and Mixtral 8x7B with a space behind BOS",
        .before = "<s> [INST] ",
        .after = " [/INST]",
        .sha256 = {"225aaeb28812e3ea17ec7ce3963b705811ea431cfefc8cef624e0f2930f8e7e3",
                   "796853172235ab3aaa4810013ddfe2eab481bda3306dad4f700c00d436eed596"},
    },
    {
        .name = "mistral-v3",
        .summary = "Mistral 7B v0.3, Large, Mixtral 8x22B",
        .before = "<s>[INST] ",
        .after = "[/INST]",
        .sha256 = {"3c4ad5fa60dd8c7ccdf82fa4225864c903e107728fcaf859fa6052cb80c92ee9",
                   "6b1fd7807826615a3befd86aa0a9fbfce6a98acb0f4dd66726be76b078011156",
                   "736dba5c1d552a0ddde5164a64792bd2a3639af3b78dff7917c2dd5d4d48e43a"},
    },
    {
        .name = "mistral-tekken",
        .summary = "Mistral Nemo, Small",
        .before = "<s>[INST]",
        .after = "[/INST]",
        .sha256 = {"7a29791b46bd731f43fbe4994f23c7b689daaa36c4d0294485fab19825a2ec5d",
                   "d99c0a28fd4eebd7ba2cc0309651f6d7c5486024989bc42f6bb4cc558d553689"},
    },
    {
        .name = "r1-distill",
        .summary = "R1-Distill until 9 Feb 2025; DeepSeek V3, R1",
        .before = DEEPSEEK_USER,
        .after = DEEPSEEK_ANSWER,
        .sha256 = {"b6835114b7303ddd78919a82e4d9f7d8c26ed0d7dfc36beeb12d524f6144eab1",
                   "3a3036eeb96ca0e48565fc1f19b4d7d3fa17ada32bb1b3d5ed539ae74cf22923",
                   "3b8267e54b67df6500f231ffa969955cc9d26b3444a291ced4eb96ca7d3ca1ea"},
    },
    {
        .name = "r1-distill-think",
        .summary = "R1-Distill since 9 Feb 2025: the answer begins inside <think>",
        .before = DEEPSEEK_USER,
        .after = DEEPSEEK_ANSWER "<think>\n",
        .sha256 = {"56a1447ad31926fdc21fb07e56e5642bd9c850c4f52d8c8af7bbe5f079a84f5f"},
    },
    {
        .name = "smollm2",
        .summary = "SmolLM2",
        .before = IM_SYSTEM("You are a helpful AI assistant named SmolLM, trained by Hugging Face")
            IM_USER,
        .after = IM_ANSWER,
        .sha256 = {"872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788"},
    },
    {.name = NULL},
};
